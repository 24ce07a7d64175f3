//! A JSON object whose members keep their order and their exact text, so that a block which is
//! echoed to a service is what that service sent, members unknown to us included.

use std::fmt;

use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

/// Members in the order in which they arrived. A repeated key is an error: two readers could
/// disagree about which one counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Object(Vec<(String, Box<RawValue>)>);

impl Object {
    /// The member's exact JSON text.
    pub(super) fn raw(&self, key: &str) -> Option<&RawValue> {
        let (_, value) = self.0.iter().find(|(name, _)| name == key)?;
        Some(value)
    }

    /// The member, if it is there and has this type.
    pub(super) fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_str(self.raw(key)?.get()).ok()
    }

    /// Replaces the member in place, or adds it at the end.
    pub(super) fn set_raw(&mut self, key: &str, value: Box<RawValue>) {
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    /// Like [`Object::set_raw`] for anything that serialises.
    pub(super) fn set(
        &mut self,
        key: &str,
        value: &impl Serialize,
    ) -> Result<(), serde_json::Error> {
        self.set_raw(key, to_raw_value(value)?);
        Ok(())
    }

    /// Takes over every member of `other` that is not null.
    pub(super) fn merge(&mut self, other: Object) {
        for (key, value) in other.0 {
            if value.get() != "null" || self.raw(&key).is_none() {
                self.set_raw(&key, value);
            }
        }
    }

    /// Forgets a member.
    pub(super) fn remove(&mut self, key: &str) {
        self.0.retain(|(name, _)| name != key);
    }

    /// The whole object as JSON text.
    pub(super) fn to_raw(&self) -> Result<Box<RawValue>, serde_json::Error> {
        to_raw_value(self)
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut object = Object::default();
                while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if object.raw(&key).is_some() {
                        return Err(A::Error::custom("a key stands twice in one object"));
                    }
                    // A linear look-up is right for real blocks; this keeps hostile ones cheap.
                    if object.0.len() >= 256 {
                        return Err(A::Error::custom("an object has more than 256 members"));
                    }
                    object.0.push((key, value));
                }
                Ok(object)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_exact_text_survive_and_repeated_keys_do_not_pass() {
        let text = r#"{"z":1.0,"a":{"y":  [1e2]},"type":"new_thing"}"#;
        let mut object: Object = serde_json::from_str(text).unwrap();
        assert_eq!(object.to_raw().unwrap().get(), text);
        object.set("a", &7).unwrap();
        object.set("b", &true).unwrap();
        assert_eq!(
            object.to_raw().unwrap().get(),
            r#"{"z":1.0,"a":7,"type":"new_thing","b":true}"#
        );
        assert!(serde_json::from_str::<Object>(r#"{"a":1,"a":2}"#).is_err());
    }
}
