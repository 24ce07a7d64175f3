//! Asks witnesses to cosign the log's head (<https://c2sp.org/tlog-witness>), and tells when not enough of
//! them did. Silence is never taken for a cosignature.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use lar_core::audit::log::{Head, Log, prove_consistency};
use lar_core::audit::note::{KeyKind, Note, NoteKey, NoteSignature, Signed};
use lar_core::audit::record::{Anchor, Body};
use lar_core::audit::witness::AddCheckpoint;
use lar_core::call::Spent;
use lar_core::id::RunId;
use lar_core::ledger::RunLedger;
use lar_core::token::Witness as Demand;
use reqwest::{Client, StatusCode, Url};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::stop::Stop;

/// The most bytes of a witness's answer that are read.
const MOST_ANSWER: usize = 16 << 10;
/// How long it is waited before a newer head is asked for.
const PAUSE: Duration = Duration::from_millis(50);

/// A witness: where it is, and the key that its cosignatures are checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// The prefix to which `add-checkpoint` is added.
    pub url: Url,
    /// Its key.
    pub key: NoteKey,
}

/// Which witnesses are asked, and how many must answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessing {
    /// The witnesses.
    pub witnesses: Vec<Witness>,
    /// How many of them must cosign.
    pub required: usize,
    /// How long all of that may take.
    pub timeout: Duration,
}

/// How long witnesses may take when nobody says.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// Witnesses that can't be named like this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {message}")]
pub struct WitnessingError {
    /// `witness` or `required`.
    pub field: &'static str,
    /// What is wrong, and what would do.
    pub message: String,
}

impl Witnessing {
    /// Witnesses by their URLs and keys (`NAME+ID+BASE64`). All of them must cosign where `required` says
    /// nothing, within five seconds where `timeout` says nothing.
    ///
    /// # Errors
    /// When a URL or key is none, a key stands there twice, or more are required than named.
    pub fn new(
        named: impl IntoIterator<Item = (String, String)>,
        required: Option<usize>,
        timeout: Option<Duration>,
    ) -> Result<Self, WitnessingError> {
        let wrong = |field| move |message| WitnessingError { field, message };
        let read: Result<Vec<Witness>, String> =
            named.into_iter().map(|(url, key)| witness(&url, &key)).collect();
        let witnesses = read.and_then(distinct).map_err(wrong("witness"))?;
        let required = required.unwrap_or(witnesses.len());
        match (witnesses.len(), required) {
            (0, _) => Err(wrong("witness")("none is named; name one or more".to_owned())),
            (_, 0) => Err(wrong("required")("one or more must cosign".to_owned())),
            (all, _) if required > all => {
                let message = format!("{required} are required and {all} named; name more");
                Err(wrong("required")(message))
            }
            _ => Ok(Self { witnesses, required, timeout: timeout.unwrap_or(DEFAULT_TIMEOUT) }),
        }
    }
}

fn witness(url: &str, key: &str) -> Result<Witness, String> {
    let url = Url::parse(url).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.host().is_some()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    let url = url.ok_or("a witness's `url` is http or https, without user, query and fragment")?;
    let key: NoteKey = key.parse().map_err(|error| format!("{error}"))?;
    if key.kind() != KeyKind::Cosignature {
        return Err(format!("`{key}` is a log's key; `lar witness init` prints a witness's"));
    }
    Ok(Witness { url, key })
}

/// One witness under two names is one witness.
fn distinct(witnesses: Vec<Witness>) -> Result<Vec<Witness>, String> {
    for (at, witness) in witnesses.iter().enumerate() {
        let same = |other: &Witness| other.key.public() == witness.key.public();
        if witnesses.iter().take(at).any(same) {
            return Err(format!("the key of `{}` stands there twice", witness.key.name()));
        }
    }
    Ok(witnesses)
}

/// Too few witnesses cosigned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{got} of {required} required witnesses cosigned: {why}")]
pub struct Unwitnessed {
    /// How many did.
    pub got: usize,
    /// How many must.
    pub required: usize,
    /// Why the others didn't.
    pub why: String,
}

/// A checkpoint with enough cosignatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// How many records it covers.
    pub size: u64,
    /// The signed note with the cosignatures.
    pub checkpoint: String,
}

/// Asks the witnesses of a run.
#[derive(Debug)]
pub struct Witnesses {
    policy: Witnessing,
    client: Client,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// The size that each witness cosigned last, as far as it is known here.
    sizes: HashMap<[u8; 4], u64>,
    /// The newest checkpoint with enough cosignatures.
    newest: Option<Cosigned>,
}

/// Why one witness didn't cosign.
enum Without {
    /// It has cosigned a larger checkpoint.
    Ahead(u64),
    /// Anything else.
    Because(String),
}

impl Witnesses {
    /// Gets ready to ask; `Err` says why that can't be.
    pub fn new(policy: Witnessing) -> Result<Self, String> {
        let mut builder = Client::builder();
        if policy.witnesses.iter().all(|witness| witness.url.scheme() == "http") {
            // Redirects are off, so that no TLS can follow.
            builder = builder.tls_certs_only([]);
        }
        let client = builder
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .user_agent(concat!("linear-agent-runtime/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|_| "the HTTP client for witnesses can't be set up".to_owned())?;
        Ok(Self { policy, client, memory: Mutex::default() })
    }

    /// Gets enough cosignatures over a checkpoint that covers a run's record, and keeps it in the log.
    ///
    /// # Errors
    /// Says how many witnesses cosigned and why the others didn't. Nothing may be taken for witnessed
    /// then.
    pub async fn cosign(
        &self,
        log: &dyn Log,
        run: &RunId,
        seq: u64,
    ) -> Result<Cosigned, Unwitnessed> {
        let deadline = Instant::now() + self.policy.timeout;
        // One after the other: who waits here has most likely been cosigned meanwhile.
        let mut memory = self.memory.lock().await;
        let mut head =
            log.include(run, seq).await.map_err(|error| self.none(&error.to_string()))?;
        let leaf =
            log.positions(run, seq, 1).await.map_err(|error| self.none(&error.to_string()))?;
        let leaf =
            leaf.first().copied().flatten().ok_or_else(|| self.none("it is not in the log"))?;
        if let Some(newest) = memory.newest.as_ref().filter(|newest| newest.size > leaf) {
            return Ok(newest.clone());
        }
        loop {
            let short = match self.round(&mut memory, log, &head, deadline).await? {
                Ok(cosigned) => {
                    let kept = log.witness(cosigned.size, cosigned.checkpoint.clone()).await;
                    kept.map_err(|error| self.none(&error.to_string()))?;
                    memory.newest = Some(cosigned.clone());
                    return Ok(cosigned);
                }
                Err(short) => short,
            };
            // Somebody else's larger checkpoint was cosigned: the newest one is asked for.
            if short.ahead.is_none() || Instant::now() + PAUSE >= deadline {
                return Err(short.unwitnessed);
            }
            sleep(PAUSE).await;
            head = log.head().await.map_err(|error| self.none(&error.to_string()))?;
            if short.ahead.is_some_and(|ahead| ahead > head.size) {
                return Err(self.none(&format!(
                    "a witness has seen {} records of this log and it has {}: an older copy of the \
                     ledger was put in its place",
                    short.ahead.unwrap_or_default(),
                    head.size
                )));
            }
        }
    }

    fn none(&self, why: &str) -> Unwitnessed {
        Unwitnessed { got: 0, required: self.policy.required, why: why.to_owned() }
    }

    /// Asks every witness about one head.
    async fn round(
        &self,
        memory: &mut Memory,
        log: &dyn Log,
        head: &Head,
        deadline: Instant,
    ) -> Result<Result<Cosigned, Short>, Unwitnessed> {
        let unsigned = || self.none("the log is not signed");
        let text = head.checkpoint.as_ref().ok_or_else(unsigned)?;
        let mut note = Note::parse(text).map_err(|_| unsigned())?;
        let ask = |witness| {
            let known = memory.sizes.get(&key_of(witness)).copied().unwrap_or(0);
            async move {
                let asked = self.ask(witness, log, head, text, known);
                match tokio::time::timeout_at(deadline, asked).await {
                    Ok(answer) => answer,
                    Err(_) => Err(Without::Because("it gave no answer in time".to_owned())),
                }
            }
        };
        let answers = join_all(self.policy.witnesses.iter().map(ask)).await;
        let (mut got, mut reasons, mut ahead) = (0, Vec::new(), None);
        for (witness, answer) in self.policy.witnesses.iter().zip(answers) {
            let why = match answer {
                Ok(signature) => {
                    let mut signed = note.clone();
                    signed.add(signature);
                    if matches!(witness.key.check(&signed), Signed::Valid { time: Some(_) }) {
                        note = signed;
                        got += 1;
                        memory.sizes.insert(key_of(witness), head.size);
                        continue;
                    }
                    "its cosignature isn't that of its key".to_owned()
                }
                Err(Without::Ahead(size)) => {
                    ahead = ahead.max(Some(size));
                    memory.sizes.insert(key_of(witness), size);
                    format!("it has cosigned {size} records already")
                }
                Err(Without::Because(why)) => why,
            };
            reasons.push(format!("`{}`: {why}", witness.key.name()));
        }
        if got >= self.policy.required {
            return Ok(Ok(Cosigned { size: head.size, checkpoint: note.to_string() }));
        }
        let (required, why) = (self.policy.required, reasons.join("; "));
        Ok(Err(Short { unwitnessed: Unwitnessed { got, required, why }, ahead }))
    }

    /// Asks one witness, which may first have to say what it cosigned last.
    async fn ask(
        &self,
        witness: &Witness,
        log: &dyn Log,
        head: &Head,
        checkpoint: &str,
        known: u64,
    ) -> Result<NoteSignature, Without> {
        let because = |why: &str| Without::Because(why.to_owned());
        let mut old = known;
        for _ in 0..3 {
            let proof = prove_consistency(log, old, head.size).await;
            let proof = proof.map_err(|error| Without::Because(error.to_string()))?;
            let body = AddCheckpoint { old, proof, checkpoint: checkpoint.to_owned() }.text();
            let (status, text) = self.post(witness, body).await?;
            match status {
                StatusCode::OK => {
                    let lines = text.lines().filter_map(|line| NoteSignature::parse(line).ok());
                    let (name, id) = (witness.key.name(), witness.key.id());
                    let mut own = lines.filter(|line| line.name == name && line.id == id);
                    return own
                        .next()
                        .ok_or_else(|| because("it answered without its cosignature"));
                }
                StatusCode::CONFLICT => {
                    let size: Option<u64> = text.trim_end().parse().ok();
                    let size = size.ok_or_else(|| because("it names no size"))?;
                    if size == old {
                        return Err(because(
                            "it has cosigned another checkpoint of the same size: the log was forked",
                        ));
                    }
                    if size > head.size {
                        return Err(Without::Ahead(size));
                    }
                    old = size;
                }
                StatusCode::UNPROCESSABLE_ENTITY => {
                    return Err(because(
                        "what it cosigned before isn't of this log: it was forked",
                    ));
                }
                StatusCode::NOT_FOUND => return Err(because("it doesn't know this log")),
                StatusCode::FORBIDDEN => return Err(because("it doesn't know the log's key")),
                other => return Err(Without::Because(format!("it answers {}", other.as_u16()))),
            }
        }
        Err(because("others ask it at the same time"))
    }

    async fn post(&self, witness: &Witness, body: String) -> Result<(StatusCode, String), Without> {
        let because = |why: &str| Without::Because(why.to_owned());
        let mut url = witness.url.clone();
        let prefix = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{prefix}/add-checkpoint"));
        let sent = self.client.post(url).body(body).send().await;
        let mut response = sent.map_err(|_| because("it can't be reached"))?;
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|_| because("its answer was cut"))? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > MOST_ANSWER {
                return Err(because("its answer is too long"));
            }
        }
        let text = String::from_utf8(bytes).map_err(|_| because("its answer is not UTF-8"))?;
        Ok((response.status(), text))
    }
}

/// Waits for the witnesses where the spend's token demands them, and records what they cosigned.
///
/// # Errors
/// Says why they didn't. Nothing may begin then.
pub async fn before_effect(
    witnesses: Option<&Witnesses>,
    spent: &Spent,
    ledger: &RunLedger,
    stop: &Stop,
) -> Result<(), String> {
    match spent.token().witness() {
        None => return Ok(()),
        Some(Demand::BeforeEffect) => {}
    }
    let (Some(witnesses), Some(log)) = (witnesses, ledger.ledger().log()) else {
        return Err("unwitnessed: the run names no witness, or its ledger has no log".to_owned());
    };
    let cosigned = tokio::select! {
        biased;
        cause = stop.wait() => return Err(format!("unwitnessed: {}", cause.as_str())),
        cosigned = witnesses.cosign(log, ledger.run(), spent.seq()) => cosigned,
    };
    let Cosigned { size, checkpoint } =
        cosigned.map_err(|error| format!("unwitnessed: {error}"))?;
    let (attempt, intent_seq) = (spent.invocation().attempt(), spent.seq());
    let anchor = Body::Anchor(Anchor { attempt, intent_seq, size, checkpoint });
    ledger.note(anchor).await.map(drop).map_err(|error| format!("unwitnessed: {error}"))
}

/// What was missing.
struct Short {
    unwitnessed: Unwitnessed,
    /// The largest size that a witness has cosigned beyond what was asked for.
    ahead: Option<u64>,
}

fn key_of(witness: &Witness) -> [u8; 4] {
    witness.key.id()
}
