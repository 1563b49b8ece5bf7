//! `${{ CEL }}` in values.

use serde_json::Value;

use super::{Expression, Path, Scope};

/// A text of a playbook: as it is, one expression that keeps its type, or text with expressions in it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Template {
    Plain(String),
    Whole(Expression),
    Text(Vec<Piece>),
}

/// A piece of a text with expressions in it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    Plain(String),
    Value(Expression),
}

/// The longest text that a template makes, in bytes.
const MAX_TEXT: usize = 1 << 20;

impl Template {
    /// Finds the expressions of a text, and compiles them.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, inside)) = rest.split_once("${{") {
            if !before.is_empty() {
                pieces.push(Piece::Plain(before.to_owned()));
            }
            let end = end_of(inside).ok_or("a '${{' is not closed by '}}'")?;
            let (source, after) = inside.split_at(end);
            pieces.push(Piece::Value(Expression::compile(source)?));
            rest = after.strip_prefix("}}").unwrap_or(after);
        }
        if pieces.is_empty() {
            return Ok(Self::Plain(text.to_owned()));
        }
        if !rest.is_empty() {
            pieces.push(Piece::Plain(rest.to_owned()));
        }
        match <[Piece; 1]>::try_from(pieces) {
            Ok([Piece::Value(expression)]) => Ok(Self::Whole(expression)),
            Ok(one) => Ok(Self::Text(one.to_vec())),
            Err(pieces) => Ok(Self::Text(pieces)),
        }
    }

    /// The expressions in it.
    pub(crate) fn expressions(&self) -> Vec<&Expression> {
        match self {
            Self::Plain(_) => Vec::new(),
            Self::Whole(expression) => vec![expression],
            Self::Text(pieces) => pieces.iter().filter_map(Piece::expression).collect(),
        }
    }

    /// The paths that it reads.
    pub(crate) fn references(&self) -> Vec<&Path> {
        self.expressions().into_iter().flat_map(Expression::references).collect()
    }

    /// Its value.
    pub(crate) async fn evaluate(&self, scope: &Scope) -> Result<Value, String> {
        match self {
            Self::Plain(text) => Ok(text.as_str().into()),
            Self::Whole(expression) => expression.evaluate(scope).await,
            Self::Text(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Plain(plain) => text.push_str(plain),
                        Piece::Value(expression) => match expression.evaluate(scope).await? {
                            Value::String(value) => text.push_str(&value),
                            Value::Null => {}
                            other => text.push_str(&other.to_string()),
                        },
                    }
                    if text.len() > MAX_TEXT {
                        return Err(format!("a text of more than {MAX_TEXT} bytes"));
                    }
                }
                Ok(text.into())
            }
        }
    }
}

impl Piece {
    fn expression(&self) -> Option<&Expression> {
        match self {
            Self::Plain(_) => None,
            Self::Value(expression) => Some(expression),
        }
    }
}

/// Where the `}}` is that closes an expression: not within a text, nor closing braces of its own.
fn end_of(inside: &str) -> Option<usize> {
    let (mut quote, mut depth, mut escaped) = (None, 0_u32, false);
    let mut characters = inside.char_indices().peekable();
    while let Some((place, character)) = characters.next() {
        match (quote, character) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if character == open => quote = None,
            (None, '"' | '\'') => quote = Some(character),
            (None, '{') => depth += 1,
            (None, '}') if depth > 0 => depth -= 1,
            (None, '}') if characters.peek().is_some_and(|(_, next)| *next == '}') => return Some(place),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    async fn value(text: &str) -> Result<Value, String> {
        let scope = json!({"inputs": {"n": 3, "name": "web", "list": [1, "a"], "none": null}});
        Template::parse(text)?.evaluate(scope.as_object().unwrap()).await
    }

    #[tokio::test]
    async fn alone_it_keeps_its_type() {
        for (text, expected) in [
            ("${{ inputs.n }}", json!(3)),
            ("${{inputs.list}}", json!([1, "a"])),
            ("n = ${{ inputs.n }}", json!("n = 3")),
            (" ${{ inputs.n }}", json!(" 3")),
            ("${{ inputs.name }}-${{ inputs.n }}", json!("web-3")),
            ("[${{ inputs.list }}${{ inputs.none }}]", json!("[[1,\"a\"]]")),
            ("plain $ {{ text }}", json!("plain $ {{ text }}")),
            ("${{ {'a': {'b': 1}} }}", json!({"a": {"b": 1}})),
            ("${{ '}}' + \"'}}\" }}", json!("}}'}}")),
            ("${{ 'it\\'s }}' }}", json!("it's }}")),
        ] {
            assert_eq!(value(text).await, Ok(expected), "{text}");
        }
        assert!(value("${{ inputs.n").await.is_err());
        assert!(value("${{ }}").await.is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused(text in "[${}'a \\\\\"]{0,40}") {
            let parsed = Template::parse(&text);
            if !text.contains("${{") {
                prop_assert_eq!(parsed, Ok(Template::Plain(text)));
            }
        }
    }
}
