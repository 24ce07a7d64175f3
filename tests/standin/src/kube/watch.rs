//! Watches: a stream of events that lasts as long as the client asked.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Shared;
use super::discovery::Resource;
use super::select::Selection;
use super::store::{Name, named};
use super::table::table;
use crate::serve::lock;

/// What one watch is about.
pub(super) struct Watch {
    pub(super) resource: &'static Resource,
    /// `None` watches all namespaces.
    pub(super) namespace: Option<String>,
    pub(super) selection: Selection,
    /// The client knows everything up to this version; 0 sends all there is.
    pub(super) since: u64,
    /// Send rows of tables; `true` inside puts whole objects into them.
    pub(super) as_table: Option<bool>,
    pub(super) timeout: Duration,
}

/// Begins a watch.
pub(super) fn watch(shared: Arc<Shared>, watch: Watch) -> Response {
    let end = Instant::now() + watch.timeout;
    let known = Known::new(&shared, &watch);
    let state = (shared, watch, known, VecDeque::new());
    let events = stream::unfold(state, move |(shared, watch, mut known, mut queue)| async move {
        while queue.is_empty() {
            if Instant::now() >= end {
                return None;
            }
            queue.extend(known.changes(&shared, &watch));
            if queue.is_empty() {
                tokio::time::sleep(shared.tick).await;
                look(&shared, &watch);
            }
        }
        let line: String = queue.pop_front()?;
        Some((Ok::<_, Infallible>(Bytes::from(line)), (shared, watch, known, queue)))
    });
    let mut response = Response::new(Body::from_stream(events));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A tick counts as a look at every deployment that is watched.
fn look(shared: &Shared, watch: &Watch) {
    if watch.resource.plural != "deployments" {
        return;
    }
    let mut store = lock(&shared.store);
    let objects = store.list(watch.resource, watch.namespace.as_deref());
    for object in objects.iter().filter(|object| watch.selection.matches(object)) {
        store.look(&named(object));
    }
}

/// What the client has been told: the last object of each name.
struct Known(BTreeMap<Name, Value>);

impl Known {
    fn new(shared: &Shared, watch: &Watch) -> Self {
        let mut objects = selected(shared, watch);
        objects.retain(|object| version(object) <= watch.since);
        Self(objects.into_iter().map(|object| (named(&object), object)).collect())
    }

    /// Events, as lines, for what has changed since the last call.
    fn changes(&mut self, shared: &Shared, watch: &Watch) -> Vec<String> {
        let mut lines = Vec::new();
        let mut now = BTreeMap::new();
        for object in selected(shared, watch) {
            let name = named(&object);
            match self.0.remove(&name) {
                Some(old) if version(&old) == version(&object) => {}
                // Older than what the client has seen would be `ADDED` to it, too.
                Some(_) => lines.push(event("MODIFIED", watch, &object)),
                None if watch.since == 0 => lines.push(event("ADDED", watch, &object)),
                None => lines.push(event("MODIFIED", watch, &object)),
            }
            now.insert(name, object);
        }
        let gone = std::mem::replace(&mut self.0, now);
        lines.extend(gone.values().map(|object| event("DELETED", watch, object)));
        lines
    }
}

fn selected(shared: &Shared, watch: &Watch) -> Vec<Value> {
    let store = lock(&shared.store);
    let mut objects = store.list(watch.resource, watch.namespace.as_deref());
    objects.retain(|object| watch.selection.matches(object));
    objects
}

fn event(kind: &str, watch: &Watch, object: &Value) -> String {
    let object = match watch.as_table {
        None => object.clone(),
        Some(whole) => table(watch.resource, std::slice::from_ref(object), version(object), whole),
    };
    format!("{}\n", json!({"type": kind, "object": object}))
}

/// An object's resource version as the number that it is here.
pub(super) fn version(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str();
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}
