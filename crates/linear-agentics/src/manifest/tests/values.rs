//! Values of the wrong type or size.

use super::*;

#[test]
fn wrong_types() {
    let text = r#"[budget]
max_steps = "20"
timeout = 15

[[token]]
kind = "shell"
name = "pods"
allowed = "kubectl"
requires_approval = "yes"
expires = 2026-12-01T00:00:00Z
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `max_steps` must be an integer, not a string
 --> manifest.toml:2:13
  |
2 | max_steps = "20"
  |             ^^^^
  |
  = help: write the number without quotes

error: `timeout` must be a string, not an integer
 --> manifest.toml:3:11
  |
3 | timeout = 15
  |           ^^
  |
  = help: write it like `"15m"`

error: `allowed` must be an array, not a string
 --> manifest.toml:8:11
  |
8 | allowed = "kubectl"
  |           ^^^^^^^^^
  |
  = help: put it in brackets: `allowed = ["…"]`

error: `requires_approval` must be `true` or `false`, not a string
 --> manifest.toml:9:21
  |
9 | requires_approval = "yes"
  |                     ^^^^^
  |
  = help: write it without quotes

error: `expires` must be a string, not a date or time
  --> manifest.toml:10:11
   |
10 | expires = 2026-12-01T00:00:00Z
   |           ^^^^^^^^^^^^^^^^^^^^
   |
   = help: put it in quotes
"#);
}

#[test]
fn a_duration_without_a_unit() {
    let text = r#"[budget]
max_steps = 20
timeout = "15"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `timeout`: `15` has no unit; write `15s`, `15m` or `15h`
 --> manifest.toml:3:11
  |
3 | timeout = "15"
  |           ^^^^
"#);
}

#[test]
fn a_duration_over_a_day() {
    let text = r#"[budget]
max_steps = 20
timeout = "36h"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `timeout`: `36h` is more than a day, the most there is
 --> manifest.toml:3:11
  |
3 | timeout = "36h"
  |           ^^^^^
"#);
}

#[test]
fn no_steps() {
    let text = r#"[budget]
max_steps = 0
timeout = "15m"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `max_steps` is 0; it must be at least 1
 --> manifest.toml:2:13
  |
2 | max_steps = 0
  |             ^
"#);
}

#[test]
fn money_beyond_a_millionth() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"
max_cost_usd = 0.00000_05
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `0.0000005` has more than six decimals; a millionth is the least
 --> manifest.toml:4:16
  |
4 | max_cost_usd = 0.00000_05
  |                ^^^^^^^^^^
"#);
}

#[test]
fn negative_money() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"
max_cost_usd = -1.5
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `-1.5` is negative; write 0 or more
 --> manifest.toml:4:16
  |
4 | max_cost_usd = -1.5
  |                ^^^^
"#);
}

#[test]
fn a_bad_time() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "shell"
name = "pods"
allowed = ["ls"]
expires = "tomorrow"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `pods`: `expires`: `tomorrow` is not a time such as `2026-12-01T00:00:00Z` (RFC 3339)
 --> manifest.toml:9:11
  |
9 | expires = "tomorrow"
  |           ^^^^^^^^^^
"#);
}

#[test]
fn a_grant_by_its_name_and_ledger() {
    let head = "[budget]\nmax_steps = 20\ntimeout = \"15m\"\n[grant]\n";
    let read = |grant: &str| Manifest::read(&format!("{head}{grant}"), "/work/app".as_ref());
    let ledger = "0123456789abcdef0123456789abcdef";
    let whole =
        format!("id = \"a.b-1\"\nledger = \"{ledger}\"\nexpires = \"2026-12-01T00:00:00Z\"");
    let grant = read(&whole).unwrap().grant.unwrap();
    assert_eq!(grant.choice.id.as_str(), "a.b-1");
    assert_eq!(grant.choice.ledger.unwrap().as_str(), ledger);
    assert_eq!(grant.expires.unwrap().to_string(), "2026-12-01T00:00:00.000Z");
    for (bad, says) in [
        ("id = \"a/b\"", "`id`: a grant's id"),
        ("id = \"a\"\nledger = \"x\"", "`ledger`: a ledger's id"),
        ("id = \"a\"\nexpires = \"soon\"", "`expires`: `soon` is not a time"),
        ("ledger = \"x\"", "`id`"),
    ] {
        let told = read(bad).unwrap_err().render("manifest.toml", false);
        assert!(told.contains(says), "{told}");
    }
}
