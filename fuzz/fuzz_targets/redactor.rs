//! However the bytes are cut, the result is the same and holds no secret.
#![no_main]

use lar_core::redact::Redactor;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &[u8], &[u8], Vec<u8>)| {
    let (first, second, text, cuts) = input;
    let mut builder = Redactor::builder();
    for (name, value) in [("A", first), ("B", second)] {
        // What is refused, too short a value say, is left out.
        let _ = builder.add_bytes(name, &value.to_vec().into());
    }
    let Ok(redactor) = builder.build() else {
        return;
    };

    // The secrets stand in the text too, or the fuzzer would seldom hit one.
    let text = [text, first, text, second, first, text].concat();
    let whole = redactor.redact_bytes(&text);
    assert_eq!(redactor.contains(&whole), None, "a secret is left");
    assert_eq!(
        redactor.redact_bytes(&whole),
        whole,
        "a second pass changes something"
    );

    let mut stream = redactor.stream();
    let mut out = Vec::new();
    let mut rest = text.as_slice();
    let mut sizes = cuts
        .iter()
        .map(|size| usize::from(*size))
        .chain(std::iter::repeat(7));
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(sizes.next().unwrap_or(1).min(rest.len()));
        stream.feed(chunk, &mut out);
        rest = after;
    }
    stream.finish(&mut out);
    assert_eq!(
        out,
        whole.as_ref(),
        "the pieces give something else than the whole"
    );
});
