//! The trail as OCSF 1.9 events of class API Activity (6003), one JSON object a line, for a SIEM.
//! <https://schema.ocsf.io/1.9.0/classes/api_activity>
//!
//! These are events, not evidence: the bundle is. Each event names the record it was made from.

use lar_core::audit::AuditTrail;
use lar_core::time::Timestamp;
use serde_json::{Value, json};

use super::VERSION;

/// OCSF's schema version.
const SCHEMA: &str = "1.9.0";
/// API Activity, in the category Application Activity.
const CLASS: u64 = 6003;
/// The activity `Other`: a tool call is none of create, read, update and delete by its name alone.
const OTHER: u64 = 99;

/// One event for each spend and each refusal.
pub fn render(trail: &AuditTrail) -> String {
    let run = trail.run.id.as_str();
    let model = trail.run.open.model.as_str();
    let mut events: Vec<(u64, Value)> = Vec::new();
    for proof in &trail.proofs {
        let outcome = proof.outcome().as_str();
        let (status, severity) = match outcome {
            "succeeded" => (1, 1),
            "failed" => (2, 2),
            // Unknown: somebody must look.
            _ => (0, 3),
        };
        let mut event =
            event(run, model, proof.seq(), proof.timestamp(), proof.token_name(), status, severity);
        let details = json!({
            "status_detail": proof.reason().unwrap_or(outcome),
            "duration": proof.duration_ms(),
            "message": proof.result_summary(),
            "unmapped": {
                "args": proof.args().to_string(),
                "action_digest": proof.action_digest(),
                "attempt": proof.attempt(),
                "outcome": outcome,
                "exit_code": proof.exit_code(),
                "http_status": proof.http_status(),
                "scope": proof.scope(),
            },
        });
        merge(&mut event, details);
        events.push((proof.seq(), event));
    }
    for line in &trail.errors {
        let refused = !matches!(
            line.error.error_type.as_str(),
            "ActionFailedError" | "OutcomeUnknownError" | "NeverBeganError"
        );
        if !refused {
            // The spend's own event tells it.
            continue;
        }
        let token = line.error.token_name.as_str();
        let mut event = event(run, model, line.seq, line.timestamp, token, 2, 2);
        let details = json!({
            "status_code": line.error.error_type,
            "status_detail": line.error.message,
            "message": line.error.message,
            "unmapped": {"refused": true, "attempt": line.error.attempt},
        });
        merge(&mut event, details);
        events.push((line.seq, event));
    }
    events.sort_by_key(|(seq, _)| *seq);
    events.iter().map(|(_, event)| format!("{event}\n")).collect()
}

fn event(
    run: &str,
    model: &str,
    seq: u64,
    time: Timestamp,
    token: &str,
    status: u64,
    severity: u64,
) -> Value {
    let status_name = match status {
        1 => "Success",
        2 => "Failure",
        _ => "Unknown",
    };
    let severity_name = match severity {
        1 => "Informational",
        2 => "Low",
        _ => "Medium",
    };
    json!({
        "class_uid": CLASS,
        "class_name": "API Activity",
        "category_uid": 6,
        "category_name": "Application Activity",
        "activity_id": OTHER,
        "activity_name": "Tool Call",
        "type_uid": CLASS * 100 + OTHER,
        "time": time.as_millis(),
        "severity_id": severity,
        "severity": severity_name,
        "status_id": status,
        "status": status_name,
        "metadata": {
            "version": SCHEMA,
            "uid": format!("{run}#{seq}"),
            "sequence": seq,
            "correlation_uid": run,
            "log_name": "audit",
            "product": {
                "name": "Linear Agent Runtime",
                "vendor_name": "Linear Agent Runtime",
                "version": VERSION,
            },
        },
        "actor": {"application": {"name": model, "type": "AI agent"}, "session": {"uid": run}},
        "api": {"operation": token, "service": {"name": "Linear Agent Runtime"}},
        "src_endpoint": {"name": "localhost", "type": "Other", "type_id": 99},
    })
}

fn merge(event: &mut Value, details: Value) {
    if let (Some(event), Value::Object(details)) = (event.as_object_mut(), details) {
        event.extend(details);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn each_spend_and_each_refusal_is_one_event() {
        let trail = samples::whole();
        let text = render(&trail);
        let events: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(events.len(), 4, "three spends and one refusal");
        for event in &events {
            // What the class requires, by the schema.
            for field in [
                "activity_id",
                "actor",
                "api",
                "category_uid",
                "class_uid",
                "metadata",
                "severity_id",
                "src_endpoint",
                "time",
                "type_uid",
            ] {
                assert!(!event[field].is_null(), "{field}");
            }
            assert_eq!(event["type_uid"], 600_399);
            assert!(event["api"]["operation"].is_string());
        }
        let statuses: Vec<&str> = events.iter().map(|e| e["status"].as_str().unwrap()).collect();
        assert_eq!(statuses, ["Success", "Failure", "Failure", "Unknown"]);
        assert_eq!(events[1]["status_code"], "CommandNotAllowedError");
    }
}
