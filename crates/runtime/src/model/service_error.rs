//! The error that a service puts in an answer's body.

use serde::Deserialize;

/// An error body: `{"error": {"type", "message", "code"}}` in both families of APIs, with
/// variations, or no JSON at all.
#[derive(Debug, Default)]
pub(super) struct ServiceError {
    pub kind: String,
    pub code: String,
    pub message: String,
}

impl ServiceError {
    pub(super) fn read(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            error: Option<serde_json::Value>,
            message: Option<String>,
            detail: Option<serde_json::Value>,
        }
        let Ok(body_json) = serde_json::from_slice::<Body>(body) else {
            return Self {
                message: String::from_utf8_lossy(body).chars().take(400).collect(),
                ..Self::default()
            };
        };
        let detail = body_json.detail.map(|detail| text_of(&detail));
        match body_json.error {
            Some(error) => Self::of(&error),
            None => Self {
                message: body_json.message.or(detail).unwrap_or_default(),
                ..Self::default()
            },
        }
    }

    /// Reads the `error` member itself.
    pub(super) fn of(error: &serde_json::Value) -> Self {
        let member = |key: &str| error.get(key).map(text_of).unwrap_or_default();
        match error {
            serde_json::Value::Object(_) => {
                Self { kind: member("type"), code: member("code"), message: member("message") }
            }
            other => Self { message: text_of(other), ..Self::default() },
        }
    }
}

fn text_of(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    }
}
