//! Tokens for commands.

use linear_agentics::tokens as runtime;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::{Common, base, duration, multi, single, with_common, with_reach};
use crate::action::Action;
use crate::convert;
use crate::token::{LinearToken, MultiUseToken};

/// One command that begins with an allowed prefix, without a shell.
///
/// A prefix matches whole words: `kubectl get pods` allows `kubectl get pods -n prod` and not
/// `kubectl get podsx`. What would need a shell is refused: pipes, redirections, substitutions, globs.
///
/// Args:
///     name: the name in the record; the model sees the tool `shell_<name>`.
///     allowed: the prefixes.
///     requires_approval: a person must approve each use.
///     required: a run without a successful use of it ends in error.
///     expires: a `datetime` with a time zone, or an RFC 3339 text.
///     witness: `before-effect` lets nothing begin before witnesses have cosigned that the use is spent;
///         the set names them (`witnesses`).
///     timeout: seconds, after which the command and all that it started are killed.
///     env: names of environment variables that the command gets beside the usual ones.
///     workdir: where it runs, read-only; the program's own directory without it.
///     network: `host:port` endpoints that it may connect to by TCP; none without one.
///     writes: files and directories that it may change; they must exist when a run starts.
///     reads: what it may read beyond `workdir` and the system's libraries.
///     also_runs: programs that it may start in turn.
///     min_tier: the weakest confinement that will do (`A`, `B` or `C`) while the token is in no set; a
///         set or an agent says its own.
///
/// Example:
///     >>> token = ShellToken("read-pods", allowed=["kubectl get pods"])
///     >>> proof = await token.consume("kubectl get pods -n prod")
///     >>> proof.outcome, proof.exit_code
///     ('succeeded', 0)
#[pyclass(frozen, extends = LinearToken, module = "linear_agentics.tokens")]
pub struct ShellToken;

/// Commands that begin with an allowed prefix, `max_uses` times. The arguments are `ShellToken`'s.
///
/// Example:
///     >>> token = MultiUseShellToken("diagnostics", allowed=["kubectl get pods", "kubectl logs"],
///     ...                            max_uses=5)
///     >>> token.uses_remaining
///     5
#[pyclass(frozen, extends = MultiUseToken, module = "linear_agentics.tokens")]
pub struct MultiUseShellToken;

macro_rules! shell {
    ($class:ident, $make:ident, $uses:expr $(, $max_uses:ident)?) => {
        #[pymethods]
        impl $class {
            #[new]
            #[pyo3(signature = (
                name, allowed, $($max_uses,)? *, requires_approval=false, required=false,
                expires=None, witness=None, timeout=None, env=None, workdir=None, network=None,
                writes=None, reads=None, also_runs=None, min_tier=None
            ))]
            #[allow(clippy::too_many_arguments, reason = "they are keywords, each with a default")]
            fn new(
                name: &str,
                allowed: Vec<String>,
                $($max_uses: u32,)?
                requires_approval: bool,
                required: bool,
                expires: Option<&Bound<'_, PyAny>>,
                witness: Option<&str>,
                timeout: Option<&Bound<'_, PyAny>>,
                env: Option<Vec<String>>,
                workdir: Option<std::path::PathBuf>,
                network: Option<Vec<String>>,
                writes: Option<Vec<std::path::PathBuf>>,
                reads: Option<Vec<std::path::PathBuf>>,
                also_runs: Option<Vec<String>>,
                min_tier: Option<&str>,
            ) -> PyResult<PyClassInitializer<Self>> {
                let common = Common::new($uses, requires_approval, required, expires, witness)?;
                let mut builder = with_common!(runtime::ShellToken::new(name, allowed), common);
                if let Some(timeout) = timeout {
                    builder = builder.timeout(duration("timeout", timeout)?);
                }
                for name in env.into_iter().flatten() {
                    builder = builder.env(name);
                }
                if let Some(workdir) = workdir {
                    builder = builder.workdir(workdir.to_string_lossy());
                }
                let builder = with_reach!(builder, network, writes, reads, also_runs);
                $make(builder.build(), min_tier, Self)
            }

            /// Spends a use on this command, and returns the proof of what came of it.
            fn consume<'py>(
                slf: &Bound<'py, Self>,
                command: Bound<'py, PyString>,
            ) -> PyResult<Bound<'py, PyAny>> {
                let input = input(&command)?;
                base!(slf).consume_input(slf.py(), input)
            }

            /// Raises what `consume` would raise, or returns what would run.
            fn check(slf: &Bound<'_, Self>, command: Bound<'_, PyString>) -> PyResult<Action> {
                let input = input(&command)?;
                base!(slf).check_input(&input)
            }
        }
    };
}

shell!(ShellToken, single, 1);
shell!(MultiUseShellToken, multi, max_uses, max_uses);

/// `{"command": …}`, without the way through Python's JSON: a dry run takes a few microseconds.
fn input(command: &Bound<'_, PyString>) -> PyResult<String> {
    let mut input = String::from("{\"command\":");
    // A text can always be written as JSON.
    input.push_str(&serde_json::to_string(&convert::text_of(command)?).unwrap_or_default());
    input.push('}');
    Ok(input)
}
