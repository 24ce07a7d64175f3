//! One value, one text, one digest.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::ser::{self, Serializer};
use serde::{Deserialize, Serialize, de};
use sha2::{Digest as _, Sha256};

use super::{JsonRefusal, MAX_INTEGER, Place};

/// The RFC 8785 bytes of `value`: one value, one text.
///
/// Refused are floats, integers beyond ±(2^53 − 1), which RFC 8785 would round to a neighbour, and
/// a key written twice. Numbers of other people's making belong in a string, as their exact text.
///
/// ```
/// use lar_core::json::canonical;
/// use std::collections::BTreeMap;
///
/// let value = BTreeMap::from([("b", 1), ("a", 2)]);
/// assert_eq!(canonical(&value)?, br#"{"a":2,"b":1}"#);
/// assert!(canonical(&9007199254740993_u64).is_err());
/// # Ok::<(), lar_core::json::JsonRefusal>(())
/// ```
pub fn canonical<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, JsonRefusal> {
    value.serialize(Numbers).map_err(Found::refusal)?;
    serde_json_canonicalizer::to_vec(&value).map_err(|_| JsonRefusal::NotCanonical)
}

/// A SHA-256 digest (FIPS 180-4), written as 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Digest(Sha256::digest(bytes.as_ref()).into())
    }

    /// The digest of everything that is left to read, 256 KiB at a time.
    ///
    /// # Errors
    /// The reader's own.
    pub fn of_reader(mut reader: impl Read) -> io::Result<Self> {
        let (mut hasher, mut piece) = (Sha256::new(), vec![0; 1 << 18]);
        loop {
            match reader.read(&mut piece)? {
                0 => return Ok(Digest(hasher.finalize().into())),
                read => hasher.update(piece.get(..read).unwrap_or_default()),
            }
        }
    }

    /// The digest of the [`canonical`] bytes of `value`.
    pub fn of_value<T: Serialize + ?Sized>(value: &T) -> Result<Self, JsonRefusal> {
        canonical(value).map(Digest::of)
    }

    /// A digest that was computed elsewhere.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Digest(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// A text that is not a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 lowercase hexadecimal digits: give it in full")]
pub struct NotADigest;

impl FromStr for Digest {
    type Err = NotADigest;

    /// Uppercase digits are refused, so that one digest has one spelling.
    fn from_str(text: &str) -> Result<Self, NotADigest> {
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(NotADigest);
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NotADigest)?;
        Ok(Digest(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A serializer that writes nothing and fails on a number that JSON readers may not agree on.
///
/// It stands before the canonicalizer because that one turns every integer into a double, so that
/// 9007199254740993 and 9007199254740992 would share a digest, and because a float that is not a
/// number would become `null` on the way.
#[derive(Clone, Copy)]
struct Numbers;

/// What [`Numbers`] found, and where.
#[derive(Debug)]
struct Found {
    what: What,
    place: String,
}

#[derive(Debug)]
enum What {
    Float,
    LargeInteger,
    Other,
}

impl Found {
    fn new(what: What) -> Self {
        Found { what, place: String::new() }
    }

    /// Puts a struct's field before the place; the keys of maps are left out, as they are not ours.
    fn inside(mut self, field: &'static str) -> Self {
        let inner = std::mem::take(&mut self.place);
        self.place = if inner.is_empty() { field.to_owned() } else { format!("{field}.{inner}") };
        self
    }

    fn refusal(self) -> JsonRefusal {
        let place = Place(self.place);
        match self.what {
            What::Float => JsonRefusal::Float { place },
            What::LargeInteger => JsonRefusal::LargeInteger { place },
            What::Other => JsonRefusal::NotCanonical,
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that has no canonical form")
    }
}

impl std::error::Error for Found {}

impl ser::Error for Found {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Found::new(What::Other)
    }
}

fn integer(within: bool) -> Result<(), Found> {
    if within { Ok(()) } else { Err(Found::new(What::LargeInteger)) }
}

macro_rules! nothing_to_check {
    ($($method:ident($($argument:ty),*))*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<(), Found> { Ok(()) })*
    };
}

macro_rules! goes_in {
    ($($method:ident -> $kind:ident($($argument:ty),*))*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<Numbers, Found> { Ok(self) })*
    };
}

impl Serializer for Numbers {
    type Ok = ();
    type Error = Found;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    nothing_to_check! {
        serialize_bool(bool)
        serialize_i8(i8) serialize_i16(i16) serialize_i32(i32)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32)
        serialize_char(char) serialize_str(&str) serialize_bytes(&[u8])
        serialize_none() serialize_unit() serialize_unit_struct(&'static str)
        serialize_unit_variant(&'static str, u32, &'static str)
    }

    goes_in! {
        serialize_seq -> Seq(Option<usize>)
        serialize_tuple -> Tuple(usize)
        serialize_tuple_struct -> TupleStruct(&'static str, usize)
        serialize_tuple_variant -> TupleVariant(&'static str, u32, &'static str, usize)
        serialize_map -> Map(Option<usize>)
        serialize_struct -> Struct(&'static str, usize)
        serialize_struct_variant -> StructVariant(&'static str, u32, &'static str, usize)
    }

    fn serialize_i64(self, number: i64) -> Result<(), Found> {
        integer(number.unsigned_abs() <= MAX_INTEGER)
    }

    fn serialize_u64(self, number: u64) -> Result<(), Found> {
        integer(number <= MAX_INTEGER)
    }

    fn serialize_i128(self, number: i128) -> Result<(), Found> {
        integer(number.unsigned_abs() <= u128::from(MAX_INTEGER))
    }

    fn serialize_u128(self, number: u128) -> Result<(), Found> {
        integer(number <= u128::from(MAX_INTEGER))
    }

    fn serialize_f32(self, _: f32) -> Result<(), Found> {
        Err(Found::new(What::Float))
    }

    fn serialize_f64(self, _: f64) -> Result<(), Found> {
        Err(Found::new(What::Float))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Found> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Found> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Found> {
        value.serialize(self).map_err(|found| found.inside(variant))
    }
}

macro_rules! checks_each {
    ($($compound:ident: $method:ident)*) => {$(
        impl ser::$compound for Numbers {
            type Ok = ();
            type Error = Found;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Found> {
                value.serialize(Numbers)
            }

            fn end(self) -> Result<(), Found> {
                Ok(())
            }
        }
    )*};
}

checks_each! {
    SerializeSeq: serialize_element
    SerializeTuple: serialize_element
    SerializeTupleStruct: serialize_field
    SerializeTupleVariant: serialize_field
}

macro_rules! checks_each_field {
    ($($compound:ident)*) => {$(
        impl ser::$compound for Numbers {
            type Ok = ();
            type Error = Found;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), Found> {
                value.serialize(Numbers).map_err(|found| found.inside(key))
            }

            fn end(self) -> Result<(), Found> {
                Ok(())
            }
        }
    )*};
}

checks_each_field! { SerializeStruct SerializeStructVariant }

impl ser::SerializeMap for Numbers {
    type Ok = ();
    type Error = Found;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Found> {
        key.serialize(Numbers)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Found> {
        value.serialize(Numbers)
    }

    fn end(self) -> Result<(), Found> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;
    use serde::ser::{SerializeMap, Serializer};
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Serialize)]
    struct Action<N> {
        tool: &'static str,
        size: N,
    }

    #[test]
    fn neighbours_beyond_a_doubles_reach_never_share_a_digest() {
        for number in [9007199254740992_u64, 9007199254740993] {
            assert_eq!(
                canonical(&Action { tool: "t", size: number }).unwrap_err().to_string(),
                "`size` is an integer beyond 2^53 - 1, which readers round: use a string"
            );
        }
        assert!(canonical(&serde_json::json!({"a": [9007199254740993_u64]})).is_err());
        assert!(canonical(&-9007199254740992_i64).is_err());
        assert!(canonical(&i64::MIN).is_err());
        assert!(canonical(&(1_u128 << 60)).is_err());
        let last = Digest::of_value(&Action { tool: "t", size: MAX_INTEGER }).unwrap();
        let before = Digest::of_value(&Action { tool: "t", size: MAX_INTEGER - 1 }).unwrap();
        assert_ne!(last, before);
        assert_eq!(canonical(&MAX_INTEGER).unwrap(), b"9007199254740991");
        assert_eq!(canonical(&-9007199254740991_i64).unwrap(), b"-9007199254740991");
    }

    #[test]
    fn floats_are_refused_even_those_that_would_become_null() {
        for number in [1.5, 1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(
                canonical(&Action { tool: "t", size: vec![Some(number)] }).unwrap_err().to_string(),
                "`size` is a float, and two floats may share one text: use an integer or a string"
            );
        }
    }

    #[test]
    fn keys_are_sorted_as_the_rfc_says() {
        // RFC 8785, section 3.2.3: by UTF-16 code units, so U+1F600 comes before U+FB33.
        let value = BTreeMap::from([("\u{fb33}", 1), ("\u{1f600}", 2), ("\r", 3), ("1", 4)]);
        assert_eq!(
            String::from_utf8(canonical(&value).unwrap()).unwrap(),
            "{\"\\r\":3,\"1\":4,\"\u{1f600}\":2,\"\u{fb33}\":1}"
        );
    }

    struct Twice;

    impl Serialize for Twice {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("k", "one")?;
            map.serialize_entry("k", "two")?;
            map.end()
        }
    }

    #[test]
    fn a_key_twice_and_raw_json_have_no_canonical_form() {
        assert_eq!(canonical(&Twice), Err(JsonRefusal::NotCanonical));
        let raw = RawValue::from_string("9007199254740993".to_owned()).unwrap();
        assert_eq!(canonical(&raw), Err(JsonRefusal::NotCanonical));
    }

    #[test]
    fn a_digest_has_one_spelling() {
        // FIPS 180-4's example for "abc".
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let digest = Digest::of("abc");
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        assert_eq!(serde_json::to_string(&digest).unwrap(), format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<Digest>(&format!("\"{text}\"")).unwrap(), digest);
        for other in
            [text.to_uppercase(), format!("{text}00"), text.replacen("ba", "b", 1), "x".repeat(64)]
        {
            assert_eq!(other.parse::<Digest>(), Err(NotADigest), "{other}");
        }
    }
}
