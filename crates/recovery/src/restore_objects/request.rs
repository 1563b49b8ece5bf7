//! What is asked of a restore.

use lifeboat_model::Coverage;
use serde_json::Value;

use super::plan::Settings;
use crate::error::{Error, Result};
use crate::expression::Expression;
use crate::nearest::did_you_mean;
use crate::selector::Selection;

/// What to restore, and how.
#[derive(Debug, Default)]
pub struct Request {
    /// Which objects of the backup.
    pub selection: Selection,
    /// Of these, those for which this is true.
    pub expression: Option<Expression>,
    /// How.
    pub settings: Settings,
}

/// Requests under way at a time: by default as many as leave the API server room for others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Concurrency(Option<u16>);

impl Concurrency {
    /// The most there may be.
    pub const MAX: u16 = 256;

    /// That many all the time, from 1 to [`Concurrency::MAX`].
    pub fn new(requests: u16) -> Option<Self> {
        (1..=Self::MAX).contains(&requests).then_some(Self(Some(requests)))
    }

    /// How many, where somebody chose.
    pub(super) fn get(self) -> Option<usize> {
        self.0.map(usize::from)
    }
}

impl Request {
    /// Whether only a part of the objects of a kind and a namespace is wanted.
    pub(super) fn filters_objects(&self) -> bool {
        self.selection.labels.is_some() || self.expression.is_some()
    }

    /// Whether an object fits what cannot be told from the index.
    pub(super) fn fits(&self, object: &Value) -> Result<bool> {
        if !self.selection.labels.as_ref().is_none_or(|labels| labels.matches(object)) {
            return Ok(false);
        }
        let Some(expression) = &self.expression else { return Ok(true) };
        expression.matches(object).map_err(|problem| Error::Usage(format!("the expression fails: {problem}")))
    }

    /// Refuses kinds that the backup does not know, with the name that is nearest.
    pub(super) fn check_kinds(&self, coverage: &Coverage) -> Result<()> {
        for kind in &self.selection.kinds {
            if coverage.resources.iter().any(|known| kind.matches(&known.resource)) {
                continue;
            }
            let names = coverage.resources.iter().flat_map(|known| {
                let kind = &known.resource;
                let words = [&kind.resource, &kind.singular].into_iter().chain(&kind.short_names).cloned();
                words.chain([kind.kind.to_lowercase(), kind.group_resource().to_string()])
            });
            let hint = did_you_mean(kind.as_str(), names);
            return Err(Error::NoObject(format!("the backup has no resource '{}'{hint}", kind.as_str())));
        }
        Ok(())
    }
}
