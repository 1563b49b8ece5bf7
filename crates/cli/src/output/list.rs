//! Lists that are printed as they come, however long they are.

use serde::Serialize;

use super::{Output, json, table::Table, yaml};
use crate::args::Format;
use crate::error::Result;

/// Rows of which the widths of the columns are taken before they are printed.
const BATCH: usize = 1000;

/// A list under way. As JSON and YAML it is one document: some fields, then the elements, then what is known at the end.
pub(crate) struct List<'a, const N: usize> {
    output: &'a Output,
    /// The name of the field that holds the elements.
    field: &'static str,
    /// What comes before them; taken when it is written.
    head: Option<String>,
    table: Table,
    rows: usize,
    elements: u64,
}

impl<'a, const N: usize> List<'a, N> {
    /// Begins a list. `head` must serialise to an object with at least one field.
    pub(crate) fn new(
        output: &'a Output,
        field: &'static str,
        head: &impl Serialize,
        columns: [&'static str; N],
    ) -> Result<Self> {
        let head = match output.format() {
            Format::Table => String::new(),
            Format::Json => json::line(head)?.trim_end().trim_end_matches('}').to_owned() + ",\n",
            Format::Yaml => yaml(head)?,
        };
        Ok(Self { output, field, head: Some(head), table: Table::new(columns), rows: 0, elements: 0 })
    }

    /// Adds an element, of which a table shows these cells.
    pub(crate) fn element(&mut self, element: &impl Serialize, cells: [&str; N]) -> Result<()> {
        self.elements += 1;
        match self.output.format() {
            Format::Table => {
                self.table.row(cells);
                self.rows += 1;
                if self.rows == BATCH { self.flush_table() } else { Ok(()) }
            }
            Format::Json => {
                let element = json::line(element)?;
                let before = self.begin_json();
                self.output.write(&format!("{before}{}", element.trim_end()))
            }
            Format::Yaml => {
                let element = yaml(&[element])?;
                let before = self.begin_yaml("");
                self.output.write(&format!("{before}{element}"))
            }
        }
    }

    /// Ends the list with some more fields: `tail` must serialise to an object with at least one field.
    pub(crate) fn finish(mut self, tail: &impl Serialize) -> Result<()> {
        match self.output.format() {
            Format::Table if self.elements == 0 => Ok(()),
            Format::Table => self.flush_table(),
            Format::Json => {
                let before = if self.elements == 0 { self.begin_json() } else { String::new() };
                let tail = json::line(tail)?;
                self.output.write(&format!("{before}\n],\n{}", tail.trim_start_matches('{')))
            }
            Format::Yaml => {
                let before = if self.elements == 0 { self.begin_yaml(" []") } else { String::new() };
                self.output.write(&format!("{before}{}", yaml(tail)?))
            }
        }
    }

    fn begin_json(&mut self) -> String {
        let Some(head) = self.head.take() else { return ",\n".to_owned() };
        format!("{head}\"{}\": [\n", self.field)
    }

    fn begin_yaml(&mut self, value: &str) -> String {
        let Some(head) = self.head.take() else { return String::new() };
        format!("{head}{}:{value}\n", self.field)
    }

    fn flush_table(&mut self) -> Result<()> {
        self.rows = 0;
        let text = self.table.to_string();
        self.table = self.table.continuation();
        self.output.write(&text)
    }
}
