//! CEL's values and JSON.

use std::collections::HashMap;
use std::sync::Arc;

use cel::Value as Cel;
use cel::objects::{Key, Map as CelMap, OptionalValue};
use serde_json::{Map, Number, Value};

/// JSON as a value of CEL. Whole numbers are `int` where they fit, so that they compare with literals.
pub(crate) fn of_json(value: Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(value) => Cel::Bool(value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Cel::Int(number),
            (None, Some(number)) => Cel::UInt(number),
            (None, None) => Cel::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Cel::String(Arc::new(text)),
        Value::Array(items) => Cel::List(Arc::new(items.into_iter().map(of_json).collect())),
        Value::Object(members) => {
            let members = members.into_iter().map(|(key, value)| (Key::String(Arc::new(key)), of_json(value)));
            Cel::Map(CelMap { map: Arc::new(members.collect::<HashMap<_, _>>()) })
        }
    }
}

/// A value of CEL as JSON.
pub(crate) fn to_json(value: Cel) -> Result<Value, String> {
    Ok(match value {
        Cel::Null => Value::Null,
        Cel::Bool(value) => value.into(),
        Cel::Int(number) => number.into(),
        Cel::UInt(number) => number.into(),
        Cel::Float(number) => Number::from_f64(number).ok_or("a number that JSON does not have")?.into(),
        Cel::String(text) => text.as_str().into(),
        Cel::List(items) => items.iter().cloned().map(to_json).collect::<Result<_, _>>()?,
        Cel::Map(map) => {
            let mut members = Map::new();
            for (key, value) in map.map.iter() {
                let key = match key {
                    Key::String(key) => key.to_string(),
                    Key::Int(key) => key.to_string(),
                    Key::Uint(key) => key.to_string(),
                    Key::Bool(key) => key.to_string(),
                };
                members.insert(key, to_json(value.clone())?);
            }
            Value::Object(members)
        }
        Cel::Opaque(opaque) => match opaque.downcast_ref::<OptionalValue>() {
            Some(optional) => optional.value().cloned().map_or(Ok(Value::Null), to_json)?,
            None => return Err("a value that JSON does not have".to_owned()),
        },
        other => return Err(format!("a value of type {} is none that JSON has", other.type_of())),
    })
}
