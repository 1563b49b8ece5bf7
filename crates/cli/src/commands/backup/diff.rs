//! `backup diff`.

use std::fmt::Write as _;
use std::sync::Arc;

use lifeboat_kubernetes::Cluster;
use lifeboat_model::ObjectKey;
use lifeboat_recovery::diff::{Against, Change, Detail, Difference, Options, Secrets, Summary, compare};
use lifeboat_recovery::{Catalog, Error as RecoveryError, OpenBackup};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::forms::selection;
use crate::app::{App, block_on, unless_cancelled};
use crate::args::{DiffArgs, Format};
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::output::{Document, List, printable, unified};
use crate::{keys, sources};

/// Differences on their way to the printer. Each can have two objects in it.
const UNDER_WAY: usize = 8;
/// What the fields of a change may take of a line, about.
const FIELDS_WIDTH: usize = 60;
/// What the cluster is called.
const LIVE: &str = "live";

#[derive(Debug, Serialize)]
struct Head {
    schema: &'static str,
    backup: String,
    /// The id of the other backup, or `live`.
    against: String,
}

/// A difference.
#[derive(Debug, Serialize)]
struct ChangeForm<'a> {
    change: &'static str,
    group: &'a str,
    version: &'a str,
    resource: &'a str,
    kind: &'a str,
    namespace: Option<&'a str>,
    name: &'a str,
    fields: Vec<FieldForm<'a>>,
}

/// A field that changed. One that is not there has no value.
#[derive(Debug, Serialize)]
struct FieldForm<'a> {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<&'a Value>,
}

#[derive(Debug, Serialize)]
struct UncomparedForm {
    resource: String,
    reason: String,
    objects: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tail {
    same: bool,
    added: u64,
    removed: u64,
    changed: u64,
    unchanged: u64,
    uncompared: Vec<UncomparedForm>,
    other_cluster: Option<String>,
}

impl From<&Summary> for Tail {
    fn from(summary: &Summary) -> Self {
        let uncompared = summary.uncompared.iter().map(|uncompared| UncomparedForm {
            resource: uncompared.resource.clone(),
            reason: uncompared.reason.clone(),
            objects: uncompared.objects,
        });
        Self {
            same: summary.is_same(),
            added: summary.added,
            removed: summary.removed,
            changed: summary.changed,
            unchanged: summary.unchanged,
            uncompared: uncompared.collect(),
            other_cluster: summary.other_cluster.clone(),
        }
    }
}

/// Where differences go.
enum Printer<'a> {
    /// A table, or JSON.
    List(Box<List<'a, 5>>),
    /// As a unified diff.
    Unified(&'a App, Head),
}

pub(crate) fn run(app: &App, arguments: &DiffArgs) -> Result<ExitCode> {
    let work = async |cancel: CancellationToken| unless_cancelled(&cancel, diff(app, arguments, cancel.clone())).await;
    Ok(match block_on(work)? {
        Some(summary) if !summary.is_same() => ExitCode::Partial,
        _ => ExitCode::Done,
    })
}

/// `None` where nobody reads the output to its end.
async fn diff(app: &App, arguments: &DiffArgs, cancel: CancellationToken) -> Result<Option<Summary>> {
    let (backup, against) = sides(app, arguments, cancel).await?;
    let head = Head {
        schema: "lifeboat.dev/backup-diff/v1",
        backup: backup.backup().manifest().id.to_string(),
        against: match &against {
            Against::Backup(other) => other.backup().manifest().id.to_string(),
            Against::Cluster { .. } => LIVE.to_owned(),
        },
    };
    let options = Options {
        selection: selection(&arguments.selection),
        detail: if app.output.format() == Format::Yaml { Detail::Whole } else { Detail::Fields },
        secrets: if arguments.show_secrets { Secrets::Shown } else { Secrets::Masked },
    };
    let printer = Printer::new(app, head)?;
    let (sender, receiver) = mpsc::channel(UNDER_WAY);
    let comparing = compare(&backup, against, options, move |difference| {
        sender.blocking_send(difference).map_err(|_| RecoveryError::Cancelled)
    });
    let (compared, printing) = tokio::join!(comparing, print(app, printer, receiver));
    let printer = printing?;
    match compared.map_err(Error::from) {
        Err(Error::Interrupted) if app.output.is_closed() => Ok(None),
        Err(error) => Err(error),
        Ok(summary) => printer.finish(app, &summary).map(|()| Some(summary)),
    }
}

/// The backup, and what it is compared with.
async fn sides(app: &App, arguments: &DiffArgs, cancel: CancellationToken) -> Result<(OpenBackup, Against)> {
    let config = app.config(&sources::overrides(&arguments.cluster))?;
    let identities = Arc::new(keys::identities(&arguments.identity)?);
    let catalog = Catalog::open(sources::context(&config, cancel).await?).await?;
    let backup = OpenBackup::open(catalog.get(&arguments.backup).await?, Arc::clone(&identities)).await?;
    let against = match &arguments.other {
        Some(other) => Against::Backup(OpenBackup::open(catalog.get(other).await?, identities).await?),
        None => Against::Cluster {
            cluster: Box::new(Cluster::connect(sources::kubernetes(&config.kubernetes)).await?),
            resources: config.resources,
        },
    };
    Ok((backup, against))
}

async fn print<'a>(
    app: &App,
    mut printer: Printer<'a>,
    mut receiver: mpsc::Receiver<Difference>,
) -> Result<Printer<'a>> {
    while let Some(difference) = receiver.recv().await {
        printer.difference(&difference)?;
        if app.output.is_closed() {
            break;
        }
    }
    Ok(printer)
}

impl<'a> Printer<'a> {
    fn new(app: &'a App, head: Head) -> Result<Self> {
        if app.output.format() == Format::Yaml {
            return Ok(Self::Unified(app, head));
        }
        let columns = ["NAMESPACE", "TYPE", "NAME", "CHANGE", "FIELDS"];
        Ok(Self::List(Box::new(List::new(&app.output, "changes", &head, columns)?)))
    }

    fn difference(&mut self, difference: &Difference) -> Result<()> {
        let key = &difference.key;
        match self {
            Self::Unified(app, head) => {
                let before = Document { origin: &head.backup, content: difference.before.as_ref() };
                let after = Document { origin: &head.against, content: difference.after.as_ref() };
                let name = file_name(key, &difference.kind);
                app.output.write(&unified(&name, before, after, app.output.view().style)?)
            }
            Self::List(list) => {
                let fields = difference.fields();
                let shown = shown_fields(fields.iter().map(|change| change.path.to_string()));
                let fields = fields.into_iter().map(|change| FieldForm {
                    path: change.path.pointer(),
                    before: change.before,
                    after: change.after,
                });
                let form = ChangeForm {
                    change: word(difference.change),
                    group: &key.group,
                    version: &key.version,
                    resource: &key.resource,
                    kind: &difference.kind,
                    namespace: key.namespace.as_deref(),
                    name: &key.name,
                    fields: fields.collect(),
                };
                let kind = key.group_resource().to_string();
                list.element(&form, [form.namespace.unwrap_or_default(), &kind, form.name, form.change, &shown])
            }
        }
    }

    fn finish(self, app: &App, summary: &Summary) -> Result<()> {
        let not_compared = |mark: &str| {
            let mut lines = String::new();
            for uncompared in &summary.uncompared {
                let objects = match uncompared.objects {
                    0 => String::new(),
                    1 => " (1 object)".to_owned(),
                    count => format!(" ({count} objects)"),
                };
                let (resource, reason) = (printable(&uncompared.resource), printable(&uncompared.reason));
                let _ = writeln!(lines, "{mark} {resource}: {reason}{objects}");
            }
            lines
        };
        match self {
            Self::Unified(..) => {
                tracing::info!("{}", counts(summary));
                app.output.write(&not_compared("# not compared:"))
            }
            Self::List(list) => {
                list.finish(&Tail::from(summary))?;
                if app.output.format() != Format::Table {
                    return Ok(());
                }
                let gap = if summary.added + summary.removed + summary.changed > 0 { "\n" } else { "" };
                let lines = not_compared(&app.output.view().style.bad("not compared:"));
                app.output.write(&format!("{gap}{}\n{lines}", counts(summary)))
            }
        }
    }
}

fn counts(summary: &Summary) -> String {
    let Summary { added, removed, changed, unchanged, .. } = summary;
    format!("{added} added, {removed} removed, {changed} changed, {unchanged} unchanged")
}

fn word(change: Change) -> &'static str {
    match change {
        Change::Added => "added",
        Change::Removed => "removed",
        Change::Changed => "changed",
    }
}

/// As `kubectl diff` names its files: `apps.v1.Deployment.shop.web`.
fn file_name(key: &ObjectKey, kind: &str) -> String {
    let parts = [key.group.as_str(), &key.version, kind, key.namespace.as_deref().unwrap_or_default(), &key.name];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
}

/// The first fields, as many as fit, and how many there are besides.
fn shown_fields(fields: impl ExactSizeIterator<Item = String>) -> String {
    let total = fields.len();
    let mut shown = String::new();
    for (place, field) in fields.enumerate() {
        if place > 0 && shown.len() + field.len() > FIELDS_WIDTH {
            let _ = write!(shown, " and {} more", total - place);
            break;
        }
        let _ = write!(shown, "{}{field}", if place > 0 { ", " } else { "" });
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_do_not_fit_are_counted() {
        let shown =
            |names: &[&str]| shown_fields(names.iter().map(ToString::to_string).collect::<Vec<_>>().into_iter());
        assert_eq!(shown(&[]), "");
        assert_eq!(shown(&["spec.replicas", "data.a"]), "spec.replicas, data.a");
        let long = "x".repeat(70);
        assert_eq!(shown(&[&long, "b", "c"]), format!("{long} and 2 more"));
    }
}
