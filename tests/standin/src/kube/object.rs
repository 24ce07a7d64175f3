//! Objects that a test puts into the server, and what all objects have in common.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::Labels;

/// A pod that no deployment owns.
#[derive(Clone, Debug)]
pub struct Pod {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) image: String,
    pub(super) container: String,
    pub(super) labels: Labels,
    pub(super) waiting: Option<String>,
    pub(super) restarts: u32,
    pub(super) logs: String,
}

impl Pod {
    /// A running pod with one container, `main`.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            image: "registry.test/team/app:v1".to_owned(),
            container: "main".to_owned(),
            labels: Labels::new(),
            waiting: None,
            restarts: 0,
            logs: String::new(),
        }
    }

    /// The container's image.
    #[must_use]
    pub fn image(mut self, image: &str) -> Self {
        self.image = image.to_owned();
        self
    }

    /// The container's name.
    #[must_use]
    pub fn container(mut self, name: &str) -> Self {
        self.container = name.to_owned();
        self
    }

    /// One label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The container waits for this reason (`CrashLoopBackOff`, `ImagePullBackOff`) after this
    /// many restarts.
    #[must_use]
    pub fn waiting(mut self, reason: &str, restarts: u32) -> Self {
        self.waiting = Some(reason.to_owned());
        self.restarts = restarts;
        self
    }

    /// What `kubectl logs` prints.
    #[must_use]
    pub fn logs(mut self, text: &str) -> Self {
        self.logs = text.to_owned();
        self
    }

    pub(super) fn object(&self) -> Value {
        let container = json!({"name": self.container, "image": self.image});
        let metadata = json!({
            "namespace": self.namespace, "name": self.name, "labels": self.labels,
        });
        let spec = json!({"containers": [container]});
        let waiting = self.waiting.as_deref();
        pod(metadata, &spec, waiting, self.restarts)
    }
}

/// A whole pod around its metadata and spec.
pub(super) fn pod(metadata: Value, spec: &Value, waiting: Option<&str>, restarts: u32) -> Value {
    let ready = waiting.is_none();
    let state = match waiting {
        Some(reason) => json!({"waiting": {"reason": reason, "message": "the stand-in says so"}}),
        None => json!({"running": {"startedAt": an_hour_ago()}}),
    };
    let status = |container: &Value| {
        json!({
            "name": container["name"],
            "image": container["image"],
            "imageID": format!("standin://{}", container["image"].as_str().unwrap_or_default()),
            "ready": ready,
            "started": ready,
            "restartCount": restarts,
            "state": state,
            "lastState": {},
        })
    };
    let containers: Vec<Value> =
        spec["containers"].as_array().into_iter().flatten().map(status).collect();
    let truth = if ready { "True" } else { "False" };
    let mut spec = spec.clone();
    spec["nodeName"] = "node-1".into();
    spec["restartPolicy"] = "Always".into();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": spec,
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.10",
            "hostIP": "10.0.0.1",
            "startTime": an_hour_ago(),
            "conditions": [
                {"type": "Ready", "status": truth},
                {"type": "PodScheduled", "status": "True"},
            ],
            "containerStatuses": containers,
        },
    })
}

/// Fills in what the server itself gives an object.
pub(super) fn identify(object: &mut Value, uid: &str, version: u64, created: &str) {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        keep(metadata, "uid", uid.into());
        keep(metadata, "creationTimestamp", created.into());
        metadata.insert("resourceVersion".to_owned(), version.to_string().into());
    }
}

fn keep(fields: &mut Map<String, Value>, key: &str, value: Value) {
    fields.entry(key).or_insert(value);
}

/// Ten characters that stand for a text, as a pod template's hash does (FNV-1a).
pub(super) fn short_hash(text: &str) -> String {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    format!("{hash:016x}")[..10].to_owned()
}

/// A stable id for an object.
pub(super) fn uid(kind: &str, namespace: &str, name: &str) -> String {
    let hash = short_hash(&format!("{kind}/{namespace}/{name}"));
    format!("{}-{}-4000-8000-000000000000", &hash[..8], &hash[6..10])
}

/// One hour before now in RFC 3339, to the second: everything here was made then.
pub(super) fn an_hour_ago() -> String {
    let time = SystemTime::now() - Duration::from_secs(3600);
    rfc3339(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// Civil date from days since 1970-01-01, by counting in 400-year eras that begin in March.
fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn dates_come_out_right_around_leap_days() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_709_251_200), "2024-03-01T00:00:00Z");
        assert_eq!(rfc3339(1_767_225_599), "2025-12-31T23:59:59Z");
    }
}
