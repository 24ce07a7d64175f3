//! An audit trail as JUnit XML, for CI systems that list tests.

use std::fmt::Write as _;

use lar_core::audit::AuditTrail;
use lar_core::display::{self, Mode};
use lar_core::outcome::Verdict;

use super::rows;

/// The most columns of one hostile text in an attribute.
const MOST: usize = 400;

/// The trail as JUnit XML, in the form that the Jenkins and Maven Surefire schemas share.
///
/// Each spend is a test case under its token's name: a failed one has a `failure`, one whose outcome
/// is unknown an `error`. Each name in `required` is a case that fails when no use of that token was
/// spent with success, and the run itself is a case that fails unless it is complete. Refused calls
/// stand in `system-err`: a refusal is the policy at work and fails nothing by itself.
pub fn render(trail: &AuditTrail, required: &[String]) -> String {
    let cases = cases(trail, required);
    let count = |wanted: &str| cases.iter().filter(|case| case.sort() == wanted).count();
    let (tests, failures, errors) = (cases.len(), count("failure"), count("error"));
    let run = &trail.run;
    let took = run.closed.map_or(0, |closed| closed.as_millis() - run.opened.as_millis());
    let took = seconds(u64::try_from(took).unwrap_or(0));
    let numbers = format!(r#"tests="{tests}" failures="{failures}" errors="{errors}""#);

    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a `String` cannot fail.
    let _ = writeln!(out, r#"<testsuites name="lar" {numbers} time="{took}">"#);
    let _ = writeln!(
        out,
        r#"  <testsuite name="{}" {numbers} skipped="0" time="{took}" timestamp="{}">"#,
        xml(run.id.as_str()),
        run.opened
    );
    let _ = writeln!(out, "    <properties>");
    let head = run.head.to_string();
    let records = run.records.to_string();
    for (name, value) in
        [("model", run.open.model.as_str()), ("records", &records), ("head", &head)]
    {
        let _ = writeln!(out, r#"      <property name="{name}" value="{}"/>"#, xml(value));
    }
    let _ = writeln!(out, "    </properties>");
    for case in &cases {
        case.write(&mut out);
    }
    let refused = rows::rows(trail).into_iter().filter(|row| row.what == "refusal");
    let refused: Vec<String> = refused
        .map(|row| {
            let (token, input) = (xml(&row.token), xml(&row.action));
            format!(
                "{} {token}: {}: {} (sent: {input})\n",
                row.time,
                xml(&row.outcome),
                xml(&row.detail)
            )
        })
        .collect();
    let _ = writeln!(out, "    <system-err>{}</system-err>", refused.concat());
    out.push_str("  </testsuite>\n</testsuites>\n");
    out
}

struct Case {
    class: String,
    name: String,
    took_ms: u64,
    /// `failure` or `error`, its type, and what is wrong.
    wrong: Option<(&'static str, String, String)>,
}

fn cases(trail: &AuditTrail, required: &[String]) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for proof in &trail.proofs {
        let reason = proof.reason().unwrap_or_default();
        let message = match (reason, proof.result_summary()) {
            ("", summary) => summary.to_owned(),
            (reason, "") => reason.to_owned(),
            (reason, summary) => format!("{reason}: {summary}"),
        };
        let wrong = match proof.outcome() {
            Verdict::Succeeded => None,
            Verdict::Failed => Some(("failure", "ActionFailedError".to_owned(), message)),
            Verdict::Unknown => Some(("error", "OutcomeUnknownError".to_owned(), message)),
        };
        cases.push(Case {
            class: proof.token_name().to_owned(),
            name: rows::action(proof.args()),
            took_ms: proof.duration_ms(),
            wrong,
        });
    }
    for name in required {
        let mut proofs = trail.proofs.iter().filter(|proof| proof.token_name() == name);
        let met = proofs.any(|proof| proof.outcome() == Verdict::Succeeded);
        cases.push(Case {
            class: name.clone(),
            name: "required: spent with success".to_owned(),
            took_ms: 0,
            wrong: (!met).then(|| {
                let message = "no use of this token was spent with success".to_owned();
                ("failure", "RequiredTokenUnspent".to_owned(), message)
            }),
        });
    }
    let complete = trail.run.stop_reason.as_deref() == Some("complete");
    cases.push(Case {
        class: "run".to_owned(),
        name: "complete".to_owned(),
        took_ms: 0,
        wrong: (!complete).then(|| {
            let why = trail.run.end.as_ref().and_then(|end| end.error.clone());
            let ending = rows::ending(trail);
            ("failure", ending.clone(), why.unwrap_or(ending))
        }),
    });
    cases
}

impl Case {
    fn sort(&self) -> &str {
        self.wrong.as_ref().map_or("", |(sort, ..)| sort)
    }

    fn write(&self, out: &mut String) {
        let _ = write!(
            out,
            r#"    <testcase classname="{}" name="{}" time="{}""#,
            xml(&self.class),
            xml(&self.name),
            seconds(self.took_ms)
        );
        let _ = match &self.wrong {
            None => writeln!(out, "/>"),
            Some((sort, kind, message)) => {
                let (kind, message) = (xml(kind), xml(message));
                writeln!(
                    out,
                    ">\n      <{sort} type=\"{kind}\" message=\"{message}\">{message}</{sort}>\n    </testcase>"
                )
            }
        };
    }
}

/// Text of the record as XML text or an attribute's value. After the escaping that makes everything
/// visible there is no character left that XML 1.0 forbids.
fn xml(text: &str) -> String {
    let text = display::clip(&display::escape(text, Mode::Line), MOST);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c => out.push(c),
        }
    }
    out
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn a_run_is_a_suite_and_each_spend_a_case() {
        let required = ["pods".to_owned(), "health".to_owned()];
        insta::assert_snapshot!(render(&samples::whole(), &required), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="lar" tests="6" failures="3" errors="1" time="17.000">
          <testsuite name="20261122-101500-0badcafe" tests="6" failures="3" errors="1" skipped="0" time="17.000" timestamp="2026-11-22T10:15:01.700Z">
            <properties>
              <property name="model" value="claude-sonnet-4-5"/>
              <property name="records" value="11"/>
              <property name="head" value="38b5f092d2a72a3d4b18b263ac8f72251958877bbd817ff83d065373c418e309"/>
            </properties>
            <testcase classname="pods" name="kubectl get pods -l &apos;app in (a, b)&apos;" time="1.234"/>
            <testcase classname="health" name="GET https://api.internal/health" time="0.031">
              <failure type="ActionFailedError" message="no route">no route</failure>
            </testcase>
            <testcase classname="staging" name="registry.internal/app:v2 to staging" time="65.000">
              <error type="OutcomeUnknownError" message="interrupted: killed">interrupted: killed</error>
            </testcase>
            <testcase classname="pods" name="required: spent with success" time="0.000"/>
            <testcase classname="health" name="required: spent with success" time="0.000">
              <failure type="RequiredTokenUnspent" message="no use of this token was spent with success">no use of this token was spent with success</failure>
            </testcase>
            <testcase classname="run" name="complete" time="0.000">
              <failure type="error" message="required tokens were never spent with success: `health`">required tokens were never spent with success: `health`</failure>
            </testcase>
            <system-err>2026-11-22T10:15:06.800Z pods: CommandNotAllowedError: `;` at character 17 would need a shell; the allowed commands begin with `kubectl get pods` (sent: {&quot;command&quot;:&quot;kubectl get pods; rm -rf /&quot;})
        </system-err>
          </testsuite>
        </testsuites>
        "#);
    }

    #[test]
    fn an_open_run_is_no_success() {
        let text = render(&samples::open(), &[]);
        assert!(text.contains(r#"classname="run" name="complete""#), "{text}");
        assert!(text.contains("failures=\"1\""), "{text}");
    }

    #[test]
    fn nothing_of_the_record_becomes_markup() {
        let text = render(&samples::hostile(), &["<EVIL name=\"\u{0}\">".to_owned()]);
        // Only our own elements open, and every attribute's quotes are ours.
        for tag in text.split('<').skip(1) {
            let name: String = tag
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || "-/?".contains(*c))
                .collect();
            let ours = [
                "?xml",
                "testsuites",
                "/testsuites",
                "testsuite",
                "/testsuite",
                "properties",
                "/properties",
                "property",
                "testcase",
                "/testcase",
                "failure",
                "/failure",
                "error",
                "/error",
                "system-err",
                "/system-err",
            ];
            assert!(ours.contains(&name.as_str()), "{name}");
            let inside = tag.split('>').next().unwrap();
            assert!(inside.matches('"').count() % 2 == 0, "{inside}");
        }
        let fits = |c: char| matches!(c, '\n' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
        assert!(text.chars().all(|c| fits(c) && !('\u{7f}'..'\u{a0}').contains(&c)), "{text:?}");
        assert!(text.contains("EVIL"));
        assert!(!text.contains("]]>"));
    }
}
