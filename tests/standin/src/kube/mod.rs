//! A small Kubernetes API server over plain HTTP, for a real `kubectl`.
//!
//! It serves discovery, lists, tables, watches, logs, and patches of deployments whose rollouts
//! follow a plan: each time that somebody looks at a deployment (a get, a list, or a tick of a
//! watch) its rollout advances by one step. There are no controllers, no admission and no
//! storage; `/openapi` is absent.
//!
//! kubectl keeps a discovery cache under `$HOME/.kube/cache` by host and port. Give it a `HOME` of
//! its own, so that a port that is used again does not meet an old cache.

mod api;
mod deployment;
mod discovery;
mod object;
mod patch;
mod respond;
mod running;
mod select;
mod store;
mod table;
mod watch;
mod write;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

pub use deployment::{Deployment, PatchAnswer, Rollout, Snapshot};
pub use object::Pod;

use crate::serve::{Background, Recorded, lock};
use store::Store;

/// A running API server. Dropping it closes every connection, watches included.
pub struct Server {
    background: Background,
    shared: Arc<Shared>,
}

impl Server {
    /// A server that is yet to be set up.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The base address, `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        self.background.url()
    }

    /// A kubeconfig with the one context `test`, in this namespace, with the server's token.
    #[must_use]
    pub fn kubeconfig(&self, namespace: &str) -> String {
        let token = self.shared.token.as_deref().unwrap_or("standin-token");
        let url = self.url();
        format!(
            "apiVersion: v1\n\
             kind: Config\n\
             current-context: test\n\
             clusters:\n\
             - name: test\n  cluster:\n    server: {url}\n\
             users:\n\
             - name: test\n  user:\n    token: {token}\n\
             contexts:\n\
             - name: test\n  context:\n    cluster: test\n    user: test\n    \
             namespace: {namespace}\n"
        )
    }

    /// Every request so far, refused ones and discovery included.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.background.journal.all()
    }

    /// The requests that could change something: all but GET and HEAD.
    #[must_use]
    pub fn writes(&self) -> Vec<Recorded> {
        let reads = ["GET", "HEAD"];
        let mut calls = self.requests();
        calls.retain(|call| !reads.contains(&call.method.as_str()));
        calls
    }

    /// A deployment as it stands; looking at it this way does not advance its rollout.
    ///
    /// # Panics
    /// When there is no such deployment.
    #[must_use]
    pub fn deployment(&self, namespace: &str, name: &str) -> Snapshot {
        let store = lock(&self.shared.store);
        let found = store.deployments.get(&(namespace.to_owned(), name.to_owned()));
        found.expect("the deployment exists").snapshot()
    }

    /// Looks at a deployment as a client would, which advances its rollout by one step.
    ///
    /// # Panics
    /// When there is no such deployment.
    pub fn look(&self, namespace: &str, name: &str) {
        let mut store = lock(&self.shared.store);
        let found = store.deployments.get_mut(&(namespace.to_owned(), name.to_owned()));
        found.expect("the deployment exists").look();
    }

    /// Adds answers to the next patches of a deployment.
    ///
    /// # Panics
    /// When there is no such deployment.
    pub fn patches(
        &self,
        namespace: &str,
        name: &str,
        answers: impl IntoIterator<Item = PatchAnswer>,
    ) {
        let mut store = lock(&self.shared.store);
        let found = store.deployments.get_mut(&(namespace.to_owned(), name.to_owned()));
        found.expect("the deployment exists").plan.answers.extend(answers);
    }
}

/// Sets up a [`Server`].
#[derive(Default)]
pub struct Builder {
    token: Option<String>,
    port: u16,
    tick: Option<Duration>,
    minor: Option<u32>,
    forbidden: Vec<(String, String)>,
    deployments: Vec<Deployment>,
    pods: Vec<Pod>,
    objects: Vec<Value>,
}

impl Builder {
    /// Answers 401 to every request without `Authorization: Bearer TOKEN`.
    ///
    /// This is for other clients: kubectl reads the credentials of a kubeconfig only for servers
    /// that it reaches by TLS, and sends none over plain HTTP.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Listens on this port; 0, the default, picks a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// How often a watch looks at what it watches; the default is 50 ms.
    #[must_use]
    pub fn tick(mut self, tick: Duration) -> Self {
        self.tick = Some(tick);
        self
    }

    /// The Kubernetes 1.x that `/version` reports; the default is 32. A kubectl that dispatches by
    /// the server's version looks at it.
    #[must_use]
    pub fn minor(mut self, minor: u32) -> Self {
        self.minor = Some(minor);
        self
    }

    /// Answers 403 to a verb (`get`, `list`, `watch`, `patch`, `delete`, ...) on a resource
    /// (`pods`, `pods/log`, `deployments`, ...), as a role without that right would.
    #[must_use]
    pub fn forbid(mut self, verb: &str, resource: &str) -> Self {
        self.forbidden.push((verb.to_owned(), resource.to_owned()));
        self
    }

    /// Adds a deployment, with replica sets and pods.
    #[must_use]
    pub fn deployment(mut self, deployment: Deployment) -> Self {
        self.deployments.push(deployment);
        self
    }

    /// Adds a pod that no deployment owns.
    #[must_use]
    pub fn pod(mut self, pod: Pod) -> Self {
        self.pods.push(pod);
        self
    }

    /// Adds an event about `kind/name`, such as `Pod/web-0`.
    #[must_use]
    pub fn event(
        self,
        namespace: &str,
        about: &str,
        event_type: &str,
        reason: &str,
        message: &str,
    ) -> Self {
        let (kind, name) = about.split_once('/').unwrap_or(("Pod", about));
        let number = self.objects.len();
        self.object(json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": namespace, "name": format!("{name}.{number:016x}")},
            "involvedObject": {
                "apiVersion": "v1", "kind": kind, "namespace": namespace, "name": name,
            },
            "type": event_type,
            "reason": reason,
            "message": message,
            "count": 1,
            "source": {"component": "standin"},
        }))
    }

    /// Adds any object of a kind that the server knows: pods, services, configmaps, secrets,
    /// events, nodes and namespaces.
    #[must_use]
    pub fn object(mut self, object: Value) -> Self {
        self.objects.push(object);
        self
    }

    /// Binds and serves.
    ///
    /// # Panics
    /// When loopback can't be listened on, or an object is of an unknown kind.
    #[must_use]
    pub fn start(self) -> Server {
        let mut store = Store::new(&object::an_hour_ago());
        for deployment in self.deployments {
            store.add_deployment(deployment);
        }
        for pod in self.pods {
            store.add_pod(pod);
        }
        for object in self.objects {
            store.add(object).expect("an object of a known kind");
        }
        let shared = Arc::new(Shared {
            token: self.token,
            tick: self.tick.unwrap_or(Duration::from_millis(50)),
            minor: self.minor.unwrap_or(32),
            forbidden: self.forbidden,
            store: Mutex::new(store),
        });
        let handled = Arc::clone(&shared);
        let background = Background::start(self.port, move |call| {
            let shared = Arc::clone(&handled);
            async move { api::handle(shared, call).await }
        });
        Server { background, shared }
    }
}

/// What the connections of one server share.
struct Shared {
    token: Option<String>,
    tick: Duration,
    minor: u32,
    forbidden: Vec<(String, String)>,
    store: Mutex<Store>,
}

/// String maps in objects, such as labels and annotations.
type Labels = BTreeMap<String, String>;
