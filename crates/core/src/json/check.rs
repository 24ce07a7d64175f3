//! One pass over a text that judges its structure, and says where it stands when it refuses.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};

use super::{JsonRefusal, Kind, Limits, Place, shown_key, syntax};

/// How many steps of a path are shown.
const MAX_SHOWN_STEPS: usize = 8;

/// Checks the structure of one JSON text of any kind and says what kind it is.
///
/// Refused at any depth: duplicate keys (compared decoded, so `"a"` and `"\u0061"` are one), null
/// characters, lone surrogates, numbers beyond a double's range, and more than `limits` allow.
pub fn check(text: &str, limits: &Limits) -> Result<Kind, JsonRefusal> {
    if text.len() > limits.max_bytes {
        return Err(JsonRefusal::TooLarge { bytes: text.len(), limit: limits.max_bytes });
    }
    let mut walk = Walk {
        max_depth: limits.max_depth.min(120),
        null_characters: limits.null_characters,
        path: Vec::new(),
        refusal: None,
    };
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = Value(&mut walk).deserialize(&mut reader).and_then(|kind| {
        reader.end()?;
        Ok(kind)
    });
    // The walk leaves its path standing where it failed.
    read.map_err(|error| walk.refusal.take().unwrap_or_else(|| syntax(walk.place(), &error)))
}

/// One pass over a text, with the way to where it stands.
struct Walk {
    max_depth: usize,
    null_characters: bool,
    path: Vec<Step>,
    refusal: Option<JsonRefusal>,
}

enum Step {
    Key(String),
    Index(usize),
}

impl Walk {
    fn place(&self) -> Place {
        let mut path = String::new();
        for step in self.path.iter().take(MAX_SHOWN_STEPS) {
            match step {
                Step::Key(key) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&shown_key(key));
                }
                Step::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        if self.path.len() > MAX_SHOWN_STEPS {
            path.push('…');
        }
        Place(path)
    }

    /// Keeps the refusal and gives the reader an error to unwind with.
    fn refuse<E: de::Error>(&mut self, refusal: JsonRefusal) -> E {
        self.refusal = Some(refusal);
        E::custom("refused")
    }

    fn text<E: de::Error>(&mut self, text: &str) -> Result<(), E> {
        if !self.null_characters && text.contains('\0') {
            let place = self.place();
            return Err(self.refuse(JsonRefusal::NullCharacter { place }));
        }
        Ok(())
    }

    /// The path holds one step for each container that the walk is inside of.
    fn enter<E: de::Error>(&mut self) -> Result<(), E> {
        if self.path.len() >= self.max_depth {
            let place = self.place();
            let limit = self.max_depth;
            return Err(self.refuse(JsonRefusal::TooDeep { place, limit }));
        }
        Ok(())
    }
}

struct Value<'a>(&'a mut Walk);

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Kind;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Kind, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Kind, E> {
        Ok(Kind::Boolean)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Kind, E> {
        Ok(Kind::Number)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Kind, E> {
        Ok(Kind::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Kind, E> {
        Ok(Kind::Number)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Kind, E> {
        self.0.text(text).map(|()| Kind::String)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Kind, A::Error> {
        let walk = self.0;
        walk.enter()?;
        for index in 0.. {
            walk.path.push(Step::Index(index));
            if seq.next_element_seed(Value(walk))?.is_none() {
                break;
            }
            walk.path.pop();
        }
        walk.path.pop();
        Ok(Kind::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let walk = self.0;
        walk.enter()?;
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            walk.text(&key)?;
            if !seen.insert(key.clone()) {
                let refusal =
                    JsonRefusal::DuplicateKey { place: walk.place(), key: shown_key(&key) };
                return Err(walk.refuse(refusal));
            }
            walk.path.push(Step::Key(key));
            map.next_value_seed(Value(walk))?;
            walk.path.pop();
        }
        Ok(Kind::Object)
    }
}
