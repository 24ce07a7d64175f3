//! The corpora of HTTP and of display: what must pass as it is, and what must not.

use lar_core::display::{Mode, escape};
use lar_core::id::{CallSite, Part, RunId};
use lar_core::invocation::{Invocation, ToolCall};
use lar_core::set::CapabilitySet;
use lar_core::token::HttpToken;
use toml::{Table, Value};

fn list<'t>(table: &'t Table, key: &str) -> &'t [Value] {
    table[key].as_array().unwrap()
}

fn url(text: &str) -> Result<String, String> {
    let token = HttpToken::new("x", text, ["GET"]).build().map_err(|error| error.to_string())?;
    match token.scope() {
        lar_core::scope::Scope::Http(scope) => Ok(scope.url.to_string()),
        other => panic!("{other:?}"),
    }
}

fn header(case: &Value) -> bool {
    let text = |key: &str| case[key].as_str().unwrap();
    let token = HttpToken::new("x", "https://api.internal/", ["GET"]);
    token.header(text("name"), text("value")).build().is_ok()
}

/// Whether a call is allowed; the request is then for the token's URL, whatever the input said.
fn call(set: &CapabilitySet, input: &str) -> bool {
    let call = ToolCall {
        site: CallSite { run: RunId::new("run").unwrap(), turn: 1, index: 0, part: Part::Call },
        tool: "items".into(),
        input: input.to_owned(),
        rationale: None,
    };
    let judged = Invocation::parse(call, set)
        .and_then(|invocation| set.reserve(invocation))
        .and_then(|reserved| reserved.authorize());
    let Ok(authorized) = judged else { return false };
    let lines = authorized.invocation().action().lines();
    assert!(lines.contains(&("url".into(), URL.into())), "{lines:?}");
    true
}

const URL: &str = "https://api.internal/v1/items?limit=5";

#[test]
fn http_tokens_and_calls_pass_or_are_refused() {
    let corpus: Table = include_str!("../../../../tests/corpus/http.toml").parse().unwrap();
    let (mut honest, mut attacks, mut wrong) = (0, 0, Vec::new());
    let mut note = |good: bool, ok: bool, what: String| {
        if good {
            honest += 1
        } else {
            attacks += 1
        }
        if good != ok {
            wrong.push(format!("{}: {what}", if good { "refused" } else { "ALLOWED" }));
        }
    };
    let tokens = corpus["token"].as_table().unwrap();
    for case in list(tokens, "honest") {
        let shown = url(case["url"].as_str().unwrap());
        note(
            true,
            shown.as_deref() == Ok(case["as"].as_str().unwrap()),
            format!("{case} {shown:?}"),
        );
    }
    for case in list(tokens, "attack") {
        let shown = url(case.as_str().unwrap());
        note(false, shown.is_ok(), format!("{case} {shown:?}"));
    }
    let headers = corpus["header"].as_table().unwrap();
    for (key, good) in [("honest", true), ("attack", false)] {
        for case in list(headers, key) {
            note(good, header(case), case.to_string());
        }
    }
    let calls = corpus["call"].as_table().unwrap();
    let methods: Vec<&str> =
        list(calls, "methods").iter().map(|method| method.as_str().unwrap()).collect();
    let set = CapabilitySet::new([HttpToken::new("items", URL, methods).build().unwrap()]).unwrap();
    set.mark_reported();
    for (key, good) in [("honest", true), ("attack", false)] {
        for case in list(calls, key) {
            note(good, call(&set, case.as_str().unwrap()), case.to_string());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        honest + attacks >= 100 && honest * 5 >= (honest + attacks) * 19 / 10,
        "{honest} {attacks}"
    );
}

#[test]
fn what_is_shown_is_plain_and_nothing_hostile_reaches_the_terminal() {
    let corpus: Table = include_str!("../../../../tests/corpus/display.toml").parse().unwrap();
    let (honest, attacks) = (list(&corpus, "honest"), list(&corpus, "attack"));
    for text in honest.iter().map(|text| text.as_str().unwrap()) {
        assert_eq!(escape(text, Mode::Line), text);
    }
    for text in attacks.iter().map(|text| text.as_str().unwrap()) {
        let shown = escape(text, Mode::Line);
        assert!(shown.contains('‹'), "{text:?} is shown as {shown:?}");
        let hostile = |c: char| {
            c.is_control()
                || matches!(c, '\u{2028}'..='\u{202e}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        };
        assert!(!shown.contains(hostile), "{text:?} is shown as {shown:?}");
    }
    assert!(honest.len() + attacks.len() >= 60);
}
