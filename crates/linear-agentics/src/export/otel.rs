//! The trail as OpenTelemetry spans (OTLP/JSON), by the semantic conventions for generative AI of
//! version 1.41.0, whose status is "development". Telemetry, never evidence.
//!
//! <https://github.com/open-telemetry/semantic-conventions/blob/v1.41.0/docs/gen-ai/gen-ai-agent-spans.md>

use lar_core::audit::AuditTrail;
use lar_core::audit::trail::Proof;
use lar_core::json::Digest;
use serde_json::{Value, json};

use super::VERSION;

const SCHEMA: &str = "https://opentelemetry.io/schemas/1.41.0";
/// A span within the program.
const INTERNAL: u64 = 1;
const OK: u64 = 1;
const ERROR: u64 = 2;

/// One trace: the run as `invoke_agent`, each spend as `execute_tool`.
pub fn render(trail: &AuditTrail) -> String {
    let run = trail.run.id.as_str();
    // Identities that follow from the record, so that the same run is exported as the same trace.
    let trace = hex(&Digest::of(format!("trace {run}")), 16);
    let root = hex(&Digest::of(format!("run {run}")), 8);
    let start = trail.run.opened.as_millis();
    let last = trail.proofs.iter().map(end_of).max().unwrap_or(start);
    let end = trail.run.closed.map_or(last, |closed| closed.as_millis());
    let failed = trail.run.stop_reason.as_deref() != Some("complete");
    let mut spans = vec![json!({
        "traceId": trace,
        "spanId": root,
        "name": "invoke_agent linear-agent-runtime",
        "kind": INTERNAL,
        "startTimeUnixNano": nanos(start),
        "endTimeUnixNano": nanos(end),
        "attributes": [
            text("gen_ai.operation.name", "invoke_agent"),
            text("gen_ai.agent.name", "linear-agent-runtime"),
            text("gen_ai.conversation.id", run),
            text("gen_ai.request.model", &trail.run.open.model),
            text("lar.stop_reason", trail.run.stop_reason.as_deref().unwrap_or("open")),
            text("lar.head", &trail.run.head.to_string()),
        ],
        "status": {"code": if failed { ERROR } else { OK }},
    })];
    spans.extend(trail.proofs.iter().map(|proof| {
        let outcome = proof.outcome().as_str();
        let mut attributes = vec![
            text("gen_ai.operation.name", "execute_tool"),
            text("gen_ai.tool.name", proof.token_name()),
            text("gen_ai.tool.type", "function"),
            text("gen_ai.tool.call.id", &proof.attempt().to_string()),
            text("gen_ai.conversation.id", run),
            text("lar.outcome", outcome),
            text("lar.action_digest", &proof.action_digest().to_string()),
            number("lar.seq", proof.seq()),
        ];
        if outcome != "succeeded" {
            attributes.push(text("error.type", outcome));
        }
        json!({
            "traceId": trace,
            "spanId": hex(&Digest::of(format!("spend {run} {}", proof.seq())), 8),
            "parentSpanId": root,
            "name": format!("execute_tool {}", proof.token_name()),
            "kind": INTERNAL,
            "startTimeUnixNano": nanos(proof.timestamp().as_millis()),
            "endTimeUnixNano": nanos(end_of(proof)),
            "attributes": attributes,
            "status": {"code": if outcome == "succeeded" { OK } else { ERROR }},
        })
    }));
    let whole = json!({"resourceSpans": [{
        "resource": {"attributes": [text("service.name", "linear-agent-runtime")]},
        "scopeSpans": [{
            "scope": {"name": "linear-agent-runtime", "version": VERSION},
            "schemaUrl": SCHEMA,
            "spans": spans,
        }],
        "schemaUrl": SCHEMA,
    }]});
    format!("{whole}\n")
}

fn end_of(proof: &Proof) -> i64 {
    let took = i64::try_from(proof.duration_ms()).unwrap_or(i64::MAX);
    proof.timestamp().as_millis().saturating_add(took)
}

/// OTLP/JSON writes 64-bit integers as text.
fn nanos(millis: i64) -> String {
    i128::from(millis).saturating_mul(1_000_000).to_string()
}

fn hex(digest: &Digest, bytes: usize) -> String {
    digest.to_string().chars().take(bytes * 2).collect()
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn number(key: &str, value: u64) -> Value {
    json!({"key": key, "value": {"intValue": value.to_string()}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn a_run_is_a_trace_and_each_spend_a_span_within_it() {
        let trail = samples::whole();
        let text = render(&trail);
        assert_eq!(text, render(&trail), "the same run gives the same trace");
        let value: Value = serde_json::from_str(&text).unwrap();
        let spans = value["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
        assert_eq!(spans.len(), 4);
        let root = spans[0]["spanId"].as_str().unwrap();
        assert_eq!((root.len(), spans[0]["traceId"].as_str().unwrap().len()), (16, 32));
        let start = |span: &Value| span["startTimeUnixNano"].as_str().unwrap().parse::<u128>();
        for span in &spans[1..] {
            assert_eq!(span["parentSpanId"], root);
            assert!(span["name"].as_str().unwrap().starts_with("execute_tool "));
            assert!(start(span).unwrap() >= start(&spans[0]).unwrap());
        }
        assert_eq!(spans[1]["status"]["code"], 1);
        assert_eq!(spans[2]["status"]["code"], 2);
    }
}
