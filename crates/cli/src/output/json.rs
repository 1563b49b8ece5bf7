//! JSON that a terminal cannot be deceived by.

use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, PrettyFormatter, Serializer};

use super::human::is_deceptive;
use crate::error::{Error, Result};

/// Writes what JSON leaves as it is and a terminal would obey or be deceived by as an escape: DEL, the control
/// characters from U+0080 to U+009F, and marks that reorder or hide text.
struct Guarded<F>(F);

fn guarded<W: io::Write + ?Sized>(writer: &mut W, fragment: &str) -> io::Result<()> {
    let mut rest = fragment;
    while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_deceptive(*c)) {
        let (before, from) = rest.split_at(at);
        writer.write_all(before.as_bytes())?;
        write!(writer, "\\u{:04x}", u32::from(c))?;
        rest = from.get(c.len_utf8()..).unwrap_or_default();
    }
    writer.write_all(rest.as_bytes())
}

impl<F: Formatter> Formatter for Guarded<F> {
    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        guarded(writer, fragment)
    }

    fn write_char_escape<W: io::Write + ?Sized>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        self.0.write_char_escape(writer, escape)
    }

    fn begin_array<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

/// Indented, with a line break at the end.
pub(super) fn pretty(value: &(impl Serialize + ?Sized)) -> Result<String> {
    written(value, PrettyFormatter::new())
}

/// On one line, with a line break at the end.
pub(super) fn line(value: &(impl Serialize + ?Sized)) -> Result<String> {
    written(value, serde_json::ser::CompactFormatter)
}

fn written(value: &(impl Serialize + ?Sized), formatter: impl Formatter) -> Result<String> {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, Guarded(formatter));
    value.serialize(&mut serializer).map_err(|source| Error::Form { format: "JSON", source: source.into() })?;
    bytes.push(b'\n');
    String::from_utf8(bytes).map_err(|source| Error::Form { format: "JSON", source: source.into() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn objects_and_lists_are_indented() {
        let value = serde_json::json!({"a": [1, {"b": null}], "c": {}, "d": []});
        assert_eq!(pretty(&value).unwrap(), format!("{value:#}\n"));
        assert_eq!(line(&value).unwrap(), format!("{value}\n"));
    }

    proptest! {
        #[test]
        fn no_text_controls_a_terminal_and_every_text_reads_back(text in "[\u{0}-\u{ff}\u{2000}-\u{206f}a-z]{0,40}") {
            let value = serde_json::json!({ text.clone(): text });
            let written = line(&value).unwrap();
            prop_assert!(!written.trim_end_matches('\n').contains(is_deceptive), "{written:?}");
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), value);
        }
    }
}
