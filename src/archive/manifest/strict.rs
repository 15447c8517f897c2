//! What a reader of JSON must not be lax about: a field given twice, of which one reader takes
//! the first and another the last; values nested without end; and arrays of arrays, which the
//! deserializer would take for the fields of an object in their order.

use std::collections::HashSet;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

/// The deepest nesting; the manifest itself needs three levels.
const DEEPEST: u32 = 8;

/// Checks that the text is one JSON value, nested no deeper than needed, in which no object
/// has a field twice, known or not.
pub(super) fn check(json: &[u8]) -> serde_json::Result<()> {
    let mut parser = serde_json::Deserializer::from_slice(json);
    let value = Value {
        levels: DEEPEST,
        in_array: false,
    };
    value.deserialize(&mut parser)?;
    parser.end()
}

/// A value with so many levels left; what is in it is forgotten.
#[derive(Clone, Copy)]
struct Value {
    levels: u32,
    in_array: bool,
}

impl Value {
    fn inner<E: Error>(self, in_array: bool) -> Result<Self, E> {
        match self.levels.checked_sub(1) {
            Some(levels) => Ok(Self { levels, in_array }),
            None => Err(E::custom("nested too deeply")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Value {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.inner(false)?;
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if let Some(key) = seen.replace(key) {
                return Err(A::Error::custom(format_args!(
                    "field `{key}` stands there twice"
                )));
            }
            map.next_value_seed(inner)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if self.in_array {
            return Err(A::Error::custom("an array in an array"));
        }
        let inner = self.inner(true)?;
        while seq.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}
