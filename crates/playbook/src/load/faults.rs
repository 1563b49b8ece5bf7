//! What is wrong with a file, all of it.

use lifeboat_model::{YamlError, YamlPlace};

/// The most faults that are told of: whoever has as many begins with the first.
const MAX_FAULTS: usize = 200;

/// A playbook that cannot be accepted: everything that is wrong with it, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct LoadErrors(pub Vec<YamlError>);

/// Gathers faults of one file.
#[derive(Debug)]
pub(crate) struct Faults {
    source_name: String,
    list: Vec<YamlError>,
}

impl Faults {
    pub(crate) fn new(source_name: &str) -> Self {
        Self { source_name: source_name.to_owned(), list: Vec::new() }
    }

    pub(crate) fn add(&mut self, place: YamlPlace, message: impl Into<String>) {
        self.hinted(place, message, None);
    }

    pub(crate) fn hinted(&mut self, place: YamlPlace, message: impl Into<String>, hint: Option<&str>) {
        if self.list.len() < MAX_FAULTS {
            self.list.push(YamlError {
                source_name: self.source_name.clone(),
                line: place.line,
                column: place.column,
                message: message.into(),
                hint: hint.map(str::to_owned),
            });
        }
    }

    /// A name that is not among those there are.
    pub(crate) fn unknown<'a>(
        &mut self,
        place: YamlPlace,
        what: &str,
        found: &str,
        known: impl Iterator<Item = &'a str> + Clone,
    ) {
        let nearest = lifeboat_model::nearest(found, known.clone());
        let found: String = found.chars().take(80).collect();
        let message = if let Some(nearest) = nearest {
            format!("unknown {what} '{found}', did you mean '{nearest}'?")
        } else {
            let known: Vec<&str> = known.take(24).collect();
            let expected = if known.is_empty() { "there is none" } else { "expected one of: " };
            format!("unknown {what} '{found}', {expected}{}", known.join(", "))
        };
        self.hinted(place, message, nearest);
    }

    /// Those of another file.
    pub(crate) fn extend(&mut self, others: LoadErrors) {
        let room = MAX_FAULTS.saturating_sub(self.list.len());
        self.list.extend(others.0.into_iter().take(room));
    }

    pub(crate) fn push(&mut self, fault: YamlError) {
        self.list.push(fault);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All of them, each once, in the order of the file.
    pub(crate) fn into_errors(mut self) -> LoadErrors {
        let own = self.source_name;
        self.list.sort_by_key(|fault| (fault.source_name != own, fault.source_name.clone(), fault.line, fault.column));
        self.list.dedup();
        LoadErrors(self.list)
    }
}
