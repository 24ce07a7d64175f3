//! Secrets taken out of every byte that is stored, shown or sent to the model.
//!
//! A [`Redactor`] knows each secret in the forms that common programs print it in: as it is,
//! base64 at each of its three alignments, hexadecimal, percent-encoded, escaped for JSON, HTML, a
//! shell and our own display, and each line of a secret that has several. Base64 and hexadecimal
//! are also found when they are broken over lines or spaced. A form that no common program prints
//! (reversed, compressed, encrypted, two encodings on top of each other) passes: this is a net
//! under the scopes, not a wall around a hostile program that was given the secret.
//!
//! What is replaced is the union of all occurrences: where two overlap, both go, under the name
//! of the one that begins first (the longest of those), so that no piece of the other stays. The
//! result holds no form of any secret, so redacting twice changes nothing. Around an encoded
//! secret one character on either side may carry up to four of its bits.
//!
//! This module keeps the values in memory that is wiped when it is dropped; the compiled search
//! tables hold them too and are not wiped.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretSlice, SecretString};
use zeroize::Zeroizing;

use self::scan::{Scan, Table, Tables};

mod forms;
mod scan;

/// The fewest bytes, apart from white space around them, that a secret may have. Shorter ones
/// would be found in innocent text.
pub const MIN_SECRET_BYTES: usize = 8;

/// The most bytes that a secret may have; the search tables take some hundred bytes for each.
pub const MAX_SECRET_BYTES: usize = 16 * 1024;

/// Finds secrets in text and puts `[redacted:NAME]` in their place. Cloning is cheap.
///
/// ```
/// use lar_core::redact::Redactor;
///
/// let mut builder = Redactor::builder();
/// builder.add("SLACK_TOKEN", &"xoxb-4711-secret".into())?;
/// let redactor = builder.build()?;
/// assert_eq!(redactor.redact("sent xoxb-4711-secret"), "sent [redacted:SLACK_TOKEN]");
/// assert_eq!(redactor.contains(b"eG94Yi00NzExLXNlY3JldA=="), Some("SLACK_TOKEN"));
/// # Ok::<(), lar_core::redact::SecretRefusal>(())
/// ```
#[derive(Clone, Default)]
pub struct Redactor {
    /// `None` when there are no secrets.
    tables: Option<Arc<Tables>>,
}

impl Redactor {
    /// Starts a redactor without secrets.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Whether there is nothing to find.
    pub fn is_empty(&self) -> bool {
        self.tables.is_none()
    }

    /// Takes the secrets out of a text.
    ///
    /// Where a secret is not UTF-8 itself and ends within a character, what is left of that
    /// character becomes U+FFFD.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.redact_bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            Cow::Owned(bytes) => Cow::Owned(match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
            }),
        }
    }

    /// Takes the secrets out of bytes of any kind.
    pub fn redact_bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(tables) = &self.tables else {
            return Cow::Borrowed(bytes);
        };
        let mut scan = Scan::new(tables);
        scan.read(tables, bytes, 0);
        if scan.first().is_none() {
            return Cow::Borrowed(bytes);
        }
        let mut out = Vec::with_capacity(bytes.len());
        scan.write(tables, bytes, bytes.len(), &mut out);
        Cow::Owned(out)
    }

    /// The name of the first secret in `bytes`, if there is one.
    pub fn contains(&self, bytes: &[u8]) -> Option<&str> {
        let tables = self.tables.as_ref()?;
        let mut scan = Scan::new(tables);
        scan.read(tables, bytes, 0);
        tables.names.get(scan.first()?).map(String::as_str)
    }

    /// A redactor for bytes that come in pieces, such as a child's output.
    pub fn stream(&self) -> Stream {
        Stream {
            running: self.tables.as_ref().map(|tables| Running {
                scan: Scan::new(tables),
                tables: Arc::clone(tables),
                held: Zeroizing::default(),
            }),
        }
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.tables.as_ref().map_or(&[][..], |tables| &tables.names);
        f.debug_struct("Redactor").field("secrets", &names).finish()
    }
}

/// Collects the secrets of a [`Redactor`].
#[derive(Default)]
pub struct Builder {
    secrets: Vec<(String, Zeroizing<Vec<u8>>)>,
}

impl Builder {
    /// Adds a secret under the name that stands in its place. Several may share a name.
    ///
    /// A name is 1 to 64 ASCII letters, digits, `_`, `-` and `.`.
    pub fn add(&mut self, name: &str, value: &SecretString) -> Result<&mut Self, SecretRefusal> {
        self.push(name, value.expose_secret().as_bytes())
    }

    /// Adds a secret that need not be UTF-8, as [`Builder::add`] does.
    pub fn add_bytes(
        &mut self,
        name: &str,
        value: &SecretSlice<u8>,
    ) -> Result<&mut Self, SecretRefusal> {
        self.push(name, value.expose_secret())
    }

    /// Compiles the search tables.
    pub fn build(self) -> Result<Redactor, SecretRefusal> {
        if self.secrets.is_empty() {
            return Ok(Redactor::default());
        }
        let marks: Vec<String> = self.secrets.iter().map(|(name, _)| mark(name)).collect();
        let mut exact = Vec::new();
        let mut folded = Vec::new();
        for (secret, (name, value)) in self.secrets.iter().enumerate() {
            let forms = forms::of(value, &marks)
                .map_err(|forms::LikeAMark| SecretRefusal::Mark { name: name.clone() })?;
            exact.extend(forms.exact.into_iter().map(|form| (form, secret)));
            folded.extend(forms.folded.into_iter().map(|form| (form, secret)));
        }
        let tables = Tables {
            names: self.secrets.into_iter().map(|(name, _)| name).collect(),
            marks,
            exact: Table::new(exact)?,
            folded: Table::new(folded)?,
        };
        Ok(Redactor { tables: Some(Arc::new(tables)) })
    }

    fn push(&mut self, name: &str, value: &[u8]) -> Result<&mut Self, SecretRefusal> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if name.is_empty() || name.len() > 64 || !name.bytes().all(allowed) {
            return Err(SecretRefusal::Name);
        }
        let name = name.to_owned();
        if value.trim_ascii().len() < MIN_SECRET_BYTES {
            return Err(SecretRefusal::Short { name });
        }
        if value.len() > MAX_SECRET_BYTES {
            return Err(SecretRefusal::Long { name });
        }
        self.secrets.push((name, Zeroizing::new(value.to_vec())));
        Ok(self)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.secrets.iter().map(|(name, _)| name).collect();
        f.debug_struct("Builder").field("secrets", &names).finish()
    }
}

/// Why a secret can't be redacted. No message holds any of its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says what it is")]
pub enum SecretRefusal {
    #[error(
        "a secret's name is 1 to 64 ASCII letters, digits, `_`, `-` or `.`: give it such a name"
    )]
    Name,
    #[error(
        "secret `{name}` is shorter than {MIN_SECRET_BYTES} bytes and would be found in innocent \
         text: use a longer one"
    )]
    Short { name: String },
    #[error(
        "secret `{name}` is longer than {MAX_SECRET_BYTES} bytes: use the part of it that is secret"
    )]
    Long { name: String },
    #[error(
        "the value of secret `{name}` can't be told from the mark `[redacted:NAME]` of a secret: \
         change the value or the names"
    )]
    Mark { name: String },
    #[error("the secrets are too long together to be searched for: use fewer or shorter ones")]
    TooMany,
}

/// Redacts bytes that come in pieces. However they are cut, the result is that of one piece.
///
/// A byte is held back only while a secret may have begun before it: at most as many bytes as the
/// longest form of a secret has, less one. Where base64 or hexadecimal is broken by white space,
/// that white space is held too, at most 64 bytes at each break.
pub struct Stream {
    running: Option<Running>,
}

struct Running {
    tables: Arc<Tables>,
    scan: Scan,
    /// The bytes that `scan` has not passed.
    held: Zeroizing<Vec<u8>>,
}

impl Stream {
    /// Takes the next piece and appends to `out` what can't be part of a secret any more.
    pub fn feed(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let Some(Running { tables, scan, held }) = &mut self.running else {
            out.extend_from_slice(chunk);
            return;
        };
        let from = held.len();
        held.extend_from_slice(chunk);
        scan.read(tables, held, from);
        let settled = scan.settled(tables, held);
        scan.write(tables, held, settled, out);
        held.drain(..scan.pass(settled));
    }

    /// Appends what was held back: nothing more will come.
    pub fn finish(self, out: &mut Vec<u8>) {
        if let Some(Running { tables, mut scan, held }) = self.running {
            let end = scan.end(&held);
            scan.write(&tables, &held, end, out);
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.running.as_ref().map_or(0, |running| running.held.len());
        f.debug_struct("Stream").field("held_bytes", &held).finish_non_exhaustive()
    }
}

fn mark(name: &str) -> String {
    format!("[redacted:{name}]")
}

#[cfg(test)]
mod tests {
    use super::scan::MAX_BLANKS;
    use super::*;

    fn redactor(secrets: &[(&str, &str)]) -> Redactor {
        let mut builder = Redactor::builder();
        for (name, value) in secrets {
            builder.add(name, &(*value).into()).unwrap();
        }
        builder.build().unwrap()
    }

    fn refusal(name: &str, value: &str) -> SecretRefusal {
        let mut builder = Redactor::builder();
        match builder.add(name, &value.into()) {
            Ok(_) => builder.build().unwrap_err(),
            Err(refusal) => refusal,
        }
    }

    fn in_pieces(redactor: &Redactor, text: &[u8], size: usize) -> Vec<u8> {
        let mut stream = redactor.stream();
        let mut out = Vec::new();
        for chunk in text.chunks(size) {
            stream.feed(chunk, &mut out);
        }
        stream.finish(&mut out);
        out
    }

    #[test]
    fn what_other_programs_print_is_found() {
        // The right column was printed by the program named at the left, from the secret.
        let redactor = redactor(&[("S", "pä\"s/w<o&r'd $1+x")]);
        for (program, printed) in [
            ("cat", "pä\"s/w<o&r'd $1+x"),
            ("Python json.dumps", r#"p\u00e4\"s/w<o&r'd $1+x"#),
            ("Python json.dumps twice", r#"p\\u00e4\\\"s/w<o&r'd $1+x"#),
            ("Python json.dumps, ensure_ascii=False", r#"pä\"s/w<o&r'd $1+x"#),
            ("PHP json_encode", r#"p\u00e4\"s\/w<o&r'd $1+x"#),
            ("Go json.Marshal", r#"pä\"s/w\u003co\u0026r'd $1+x"#),
            ("Python urllib quote", "p%C3%A4%22s/w%3Co%26r%27d%20%241%2Bx"),
            ("Python urllib quote, safe=''", "p%C3%A4%22s%2Fw%3Co%26r%27d%20%241%2Bx"),
            ("Python urllib quote_plus", "p%C3%A4%22s%2Fw%3Co%26r%27d+%241%2Bx"),
            ("node encodeURIComponent", "p%C3%A4%22s%2Fw%3Co%26r'd%20%241%2Bx"),
            ("node encodeURI", "p%C3%A4%22s/w%3Co&r'd%20$1+x"),
            ("the same in lower case", "p%c3%a4%22s%2fw%3co%26r'd%20%241%2bx"),
            ("Python html.escape", "pä&quot;s/w&lt;o&amp;r&#x27;d $1+x"),
            ("Python html.escape, quote=False", "pä\"s/w&lt;o&amp;r'd $1+x"),
            ("jq @html", "pä&quot;s/w&lt;o&amp;r&apos;d $1+x"),
            ("jq @sh", r#"pä"s/w<o&r'\''d $1+x"#),
            ("Python shlex.quote", r#"pä"s/w<o&r'"'"'d $1+x"#),
            ("Python repr", r#"pä"s/w<o&r\'d $1+x"#),
            ("bash printf %q", r#"pä\"s/w\<o\&r\'d\ \$1+x"#),
            ("bash declare -p", r#"pä\"s/w<o&r'd \$1+x"#),
            ("xxd -p", "70c3a422732f773c6f267227642024312b78"),
            ("od -t x1", "70 c3 a4 22 73 2f 77 3c\n 6f 26 72 27 64 20 24 31 2b 78"),
        ] {
            assert_eq!(redactor.redact(&format!("<{printed}>")), "<[redacted:S]>", "{program}");
        }
    }

    #[test]
    fn base64_is_found_at_each_alignment() {
        let redactor = redactor(&[("S", "pä\"s/w<o&r'd $1+x")]);
        for (printed, shown) in [
            // "use", "user" and "user:" before it, ":tail" after it.
            ("dXNlcMOkInMvdzxvJnInZCAkMSt4OnRhaWw=", "dXNl[redacted:S]OnRhaWw="),
            ("dXNlcnDDpCJzL3c8byZyJ2QgJDEreDp0YWls", "dXNlcn[redacted:S]Dp0YWls"),
            ("dXNlcjpww6Qicy93PG8mcidkICQxK3g6dGFpbA==", "dXNlcjp[redacted:S]6dGFpbA=="),
            // At the end, with and without padding.
            ("eHDDpCJzL3c8byZyJ2QgJDEreA==", "eH[redacted:S]"),
            ("eHDDpCJzL3c8byZyJ2QgJDEreA", "eH[redacted:S]"),
            // Broken at 76 columns, as `base64` does.
            ("IyNww6Qicy93\nPG8mcidkICQxK3g=\n", "IyN[redacted:S]\n"),
            ("IyNww6Qicy93\r\n      PG8mcidkICQxK3g=", "IyN[redacted:S]"),
            // As a query parameter and within JSON by PHP.
            ("cMOkInMvdzxvJnInZCAkMSt4", "[redacted:S]"),
            ("IyNww6Qicy93PG8mcidkICQxK3g%3D", "IyN[redacted:S]"),
        ] {
            assert_eq!(redactor.redact(printed), shown, "{printed}");
        }
        let both = redactor_of_bytes(&[0xfb, 0xff, 0xfe, 0xfb, 0xef, 0xbe, 0xff, 0xff, 0xfa]);
        for printed in ["+//+++++///6", "-__-----___6", "%2B%2F%2F%2B%2B%2B%2B%2B%2F%2F%2F6"] {
            assert_eq!(both.redact(printed), "[redacted:B]", "{printed}");
        }
    }

    fn redactor_of_bytes(value: &[u8]) -> Redactor {
        let mut builder = Redactor::builder();
        builder.add_bytes("B", &value.to_vec().into()).unwrap();
        builder.build().unwrap()
    }

    #[test]
    fn a_secret_that_is_not_utf_8_is_found() {
        let redactor = redactor_of_bytes(b"\xffkey\x00key\xa4");
        assert_eq!(redactor.redact_bytes(b"<\xffkey\x00key\xa4>").as_ref(), b"<[redacted:B]>");
        assert_eq!(redactor.redact("ff6b6579006b6579a4"), "[redacted:B]");
        assert_eq!(redactor.redact("%FFkey%00key%A4"), "[redacted:B]");
        // Within the characters of a text: nothing of it stays, and the text stays a text.
        let inner = redactor_of_bytes("äkey-key-ä".as_bytes().get(1..11).unwrap());
        assert_eq!(inner.redact("äkey-key-ä"), "\u{fffd}[redacted:B]\u{fffd}");
    }

    #[test]
    fn each_line_of_a_secret_is_found_but_no_armour() {
        let pem = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nshort\nhkiG9w0BAQEFAASC\n\
                   -----END PRIVATE KEY-----\n";
        let redactor = redactor(&[("PEM", pem)]);
        assert_eq!(redactor.redact(&format!("a{pem}b")), "a[redacted:PEM]b");
        assert_eq!(redactor.redact("x hkiG9w0BAQEFAASC y short"), "x [redacted:PEM] y short");
        assert_eq!(redactor.redact("-----BEGIN PRIVATE KEY-----"), "-----BEGIN PRIVATE KEY-----");
        // Without the line end that its file has.
        assert_eq!(redactor.redact(pem.trim_end()), "[redacted:PEM]");
        assert_eq!(redactor.redact(&pem.replace('\n', "\\n")), "[redacted:PEM]");
    }

    #[test]
    fn of_overlapping_secrets_no_piece_stays() {
        let overlapping = redactor(&[("A", "abcdefgh12345678"), ("B", "12345678ZZZZYYYY")]);
        assert_eq!(overlapping.redact("<abcdefgh12345678ZZZZYYYY>"), "<[redacted:A]>");
        let nested = redactor(&[("A", "abcdefgh"), ("B", "abcdefgh-and-more")]);
        assert_eq!(nested.redact("<abcdefgh-and-more>"), "<[redacted:B]>");
        assert_eq!(nested.redact("<abcdefgh-and-mor>"), "<[redacted:A]-and-mor>");
        let within = redactor(&[("A", "middle-part"), ("B", "the-middle-part-of")]);
        assert_eq!(within.redact("the-middle-part-of"), "[redacted:B]");
        let touching = redactor(&[("A", "abcdefgh"), ("B", "h-and-more"), ("C", "12345678")]);
        assert_eq!(touching.redact("abcdefgh-and-more12345678"), "[redacted:A][redacted:C]");
        let own = redactor(&[("A", "abcabcabc")]);
        assert_eq!(own.redact("abcabcabcabcabc"), "[redacted:A]");
        assert_eq!(own.redact("abcabcabcXabcabcabc"), "[redacted:A]X[redacted:A]");
    }

    #[test]
    fn a_mark_never_completes_a_secret() {
        let builder = |values: &[(&str, &str)]| redactor(values);
        let redactor = builder(&[("A", "12345678"), ("B", "]abcdefgh"), ("C", "ijklmnop[red")]);
        for text in ["12345678abcdefgh", "ijklmnop12345678", "]abcdefgh", "ijklmnop[red"] {
            let once = redactor.redact(text).into_owned();
            assert_eq!(redactor.contains(once.as_bytes()), None, "{once}");
            assert_eq!(redactor.redact(&once), once);
        }
        for value in ["redacted", "redacted:A", "A]1234567", "x[redacted:A]x", "]1234567"] {
            assert_eq!(
                refusal("A", value),
                SecretRefusal::Mark { name: "A".to_owned() },
                "{value}"
            );
        }
        assert!(matches!(refusal("hunter2hunter2", "hunter2hunter2"), SecretRefusal::Mark { .. }));
    }

    #[test]
    fn unusable_secrets_are_refused_without_their_value() {
        assert!(matches!(refusal("A", "1234567"), SecretRefusal::Short { .. }));
        assert!(matches!(refusal("A", "   1234567\n\n"), SecretRefusal::Short { .. }));
        assert!(matches!(refusal("A", &"x".repeat(16385)), SecretRefusal::Long { .. }));
        for name in ["", "a b", "a]", "ä", &"n".repeat(65)] {
            assert_eq!(refusal(name, "12345678"), SecretRefusal::Name, "{name}");
        }
        assert!(!refusal("A", "hunter2").to_string().contains("hunter2"));
    }

    #[test]
    fn pieces_give_what_the_whole_gives() {
        let redactor = redactor(&[("A", "abcabcabc"), ("B", "cabcXYZ-and-more")]);
        let text = "abcabcabXabcabcabcXYZ-and-mabcabcabcabcXYZ-and-more YWJjYWJj\n\n YWJj 6162";
        let whole = redactor.redact(text);
        for size in 1..text.len() {
            assert_eq!(in_pieces(&redactor, text.as_bytes(), size), whole.as_bytes(), "{size}");
        }
    }

    #[test]
    fn a_stream_holds_back_only_what_may_be_a_secret() {
        let redactor = redactor(&[("A", "!secret-value")]);
        let mut stream = redactor.stream();
        let mut out = Vec::new();
        stream.feed(b"progress 10%, ", &mut out);
        assert_eq!(out, b"progress 10%, ", "nothing here begins a secret");
        stream.feed(b"then !secret-va", &mut out);
        assert!(!out.ends_with(b"!secret-va"));
        stream.feed(b"lue.\n", &mut out);
        stream.finish(&mut out);
        assert_eq!(out, b"progress 10%, then [redacted:A].\n");
    }

    #[test]
    fn a_stream_holds_little_whatever_comes() {
        let redactor = redactor(&[("A", "aaaaaaaaaaaa")]);
        let longest = redactor.tables.as_ref().unwrap().exact.longest_form();
        for unit in ["a", "YWFh", "61 ", "Y                                          "] {
            let mut stream = redactor.stream();
            let mut out = Vec::new();
            for _ in 0..10_000 {
                stream.feed(unit.as_bytes(), &mut out);
                let held = stream.running.as_ref().unwrap().held.len();
                assert!(held <= longest * (MAX_BLANKS + 1), "{held} bytes held for {unit:?}");
            }
        }
        // A secret that overlaps itself for ever is one mark.
        assert_eq!(in_pieces(&redactor, &[b'a'; 100_000], 7), b"[redacted:A]");
    }

    #[test]
    fn blanks_without_end_end_the_search() {
        let redactor = redactor(&[("A", "hunter2hunter2")]);
        let within = |blanks: usize| format!("aHVudGVyMmh1{}bnRlcjI=", " ".repeat(blanks));
        assert_eq!(redactor.redact(&within(MAX_BLANKS)), "[redacted:A]");
        assert_eq!(redactor.redact(&within(MAX_BLANKS + 1)), within(MAX_BLANKS + 1));
    }

    #[test]
    fn without_secrets_nothing_is_copied_or_held() {
        let none = Redactor::default();
        assert!(none.is_empty());
        assert!(matches!(none.redact("text"), Cow::Borrowed("text")));
        assert_eq!(none.contains(b"text"), None);
        let mut out = Vec::new();
        none.stream().feed(b"text", &mut out);
        assert_eq!(out, b"text");
        let some = redactor(&[("A", "hunter2hunter2")]);
        assert!(matches!(some.redact("text"), Cow::Borrowed("text")));
    }

    #[test]
    fn debug_output_names_secrets_and_shows_none() {
        let mut builder = Redactor::builder();
        builder.add("A", &"hunter2hunter2".into()).unwrap();
        assert_eq!(format!("{builder:?}"), r#"Builder { secrets: ["A"] }"#);
        let redactor = builder.build().unwrap();
        assert_eq!(format!("{redactor:?}"), r#"Redactor { secrets: ["A"] }"#);
        let mut stream = redactor.stream();
        stream.feed(b"hunter2", &mut Vec::new());
        assert_eq!(format!("{stream:?}"), "Stream { held_bytes: 7, .. }");
    }

    #[test]
    fn the_first_secret_is_named() {
        let redactor = redactor(&[("A", "hunter2hunter2"), ("B", "correct-horse")]);
        assert_eq!(redactor.contains(b"x correct-horse hunter2hunter2"), Some("B"));
        assert_eq!(redactor.contains(b"correct horse"), None);
    }
}
