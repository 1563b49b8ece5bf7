//! Results on stdout: as a table for people, as JSON or YAML for programs.

mod failure;
mod human;
mod json;
mod list;
mod table;
mod unified;

use std::cell::Cell;
use std::io::{self, Write as _};

use jiff::Timestamp;
use serde::Serialize;

pub(crate) use failure::{report, report_usage};
pub(crate) use human::{Style, bytes, duration, moment, printable};
pub(crate) use list::List;
pub(crate) use table::Table;
pub(crate) use unified::{Document, unified};

use crate::args::Format;
use crate::error::{Error, Result};

/// A result of a command. Its serialised form is part of the interface: fields may be added, never renamed.
pub(crate) trait Report: Serialize {
    /// The result for people to read. May come from a cluster or a store only through [`printable`].
    fn text(&self, view: &View) -> String;
}

/// How a result is shown to people.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    /// What ages count from.
    pub(crate) now: Timestamp,
    /// Whether and how to colour.
    pub(crate) style: Style,
}

/// Where results go.
#[derive(Debug)]
pub(crate) struct Output {
    format: Option<Format>,
    style: Style,
    started: Cell<bool>,
    closed: Cell<bool>,
}

impl Output {
    pub(crate) fn new(format: Option<Format>, style: Style) -> Self {
        Self { format, style, started: Cell::new(false), closed: Cell::new(false) }
    }

    /// The form asked for, or what the command has as its default.
    pub(crate) fn format_or(&self, default: Format) -> Format {
        self.format.unwrap_or(default)
    }

    pub(crate) fn format(&self) -> Format {
        self.format_or(Format::Table)
    }

    pub(crate) fn view(&self) -> View {
        View { now: Timestamp::now(), style: self.style }
    }

    /// Whether nobody reads any more, as when `head` has had enough.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Whether anything was written: a JSON document that was begun cannot become another one.
    pub(crate) fn is_started(&self) -> bool {
        self.started.get()
    }

    /// Prints a whole result.
    pub(crate) fn print(&self, report: &impl Report) -> Result<()> {
        let text = match self.format() {
            Format::Table => report.text(&self.view()),
            Format::Json => json::pretty(report)?,
            Format::Yaml => yaml(report)?,
        };
        self.write(&text)
    }

    /// Prints a document of others, an object of Kubernetes: there is no table of it.
    pub(crate) fn print_document(&self, document: &serde_json::Value) -> Result<()> {
        let text = match self.format_or(Format::Yaml) {
            Format::Table | Format::Yaml => yaml(document)?,
            Format::Json => json::pretty(document)?,
        };
        self.write(&text)
    }

    /// Writes to stdout. A reader that went away is no error: what is said from then on goes nowhere.
    pub(crate) fn write(&self, text: &str) -> Result<()> {
        if self.closed.get() {
            return Ok(());
        }
        self.started.set(true);
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed.set(true);
                Ok(())
            }
            Err(error) => Err(Error::Output(error)),
        }
    }
}

/// As YAML that readers of YAML 1.1, kubectl among them, take for the same.
pub(crate) fn yaml(value: &impl Serialize) -> Result<String> {
    let mut options = serde_saphyr::SerializerOptions::default();
    options.folded_wrap_chars = usize::MAX;
    let text = serde_saphyr::to_string_with_options(value, options)
        .map_err(|source| Error::Form { format: "YAML", source: source.into() })?;
    Ok(if text.ends_with('\n') { text } else { text + "\n" })
}
