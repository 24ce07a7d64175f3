//! What the worker does differently from scenario to scenario.

/// The scenario that `LINEARITY_SCENARIO` names.
#[derive(Debug, Clone)]
pub struct Scenario(String);

impl Scenario {
    pub fn from_env() -> Self {
        Self(std::env::var("LINEARITY_SCENARIO").unwrap_or_else(|_| "one".to_owned()))
    }

    /// How many runs this process has at once.
    pub fn tasks(&self) -> usize {
        match self.0.as_str() {
            "one" | "eight" => 1,
            "hosts" | "restart" => 3,
            "witness" => 4,
            _ => 2,
        }
    }

    /// Whether a use must be approved.
    pub fn approves(&self) -> bool {
        matches!(self.0.as_str(), "approval" | "clock")
    }

    /// Whether a run that was cut off is gone on with, its calls made again.
    pub fn resumes(&self) -> bool {
        matches!(self.0.as_str(), "retry" | "approval")
    }

    /// Whether no effect may begin before witnesses have cosigned its intent. The ledger and the keys that
    /// sign its log are then those of the command line, which changes the keys meanwhile.
    pub fn witnesses(&self) -> bool {
        self.0 == "witness"
    }

    /// Every so many changes are made without an answer; none with 0.
    pub fn loses_every(&self) -> u64 {
        if self.0 == "retry" { 7 } else { 0 }
    }

    /// The steps at which the process can be told to die.
    pub fn steps(&self) -> Vec<&'static str> {
        let mut steps = vec![
            "open.before",
            "open.after",
            "start.before",
            "start.after",
            "intent",
            "effect",
            "finish.before",
            "finish.after",
            "never-began.before",
            "never-began.after",
            "close.before",
            "close.after",
            "take.before",
            "take.after",
        ];
        if self.witnesses() {
            // First, so that a short trial comes to them as well.
            let own = ["unwitnessed", "note.before", "note.after", "witnessed"];
            steps.splice(0..0, own.into_iter().chain(["erase.before", "erase.after"]));
        } else {
            // There the key is the worker's own.
            steps.extend(["sign.before", "sign.after"]);
            steps.extend(["rotate.before", "rotate.within", "rotate.after"]);
        }
        if self.approves() {
            steps.extend([
                "reserve.before",
                "reserve.after",
                "asked",
                "approve.before",
                "approve.after",
            ]);
        }
        steps
    }
}
