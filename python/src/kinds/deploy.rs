//! Tokens for deployments.

use linear_agentics::tokens as runtime;
use pyo3::prelude::*;

use super::{Common, base, duration, single, with_common, with_reach};
use crate::action::Action;
use crate::errors::TokenDefinitionError;
use crate::token::LinearToken;

/// One deployment of one image to one place. The model supplies nothing: it decides when and whether.
///
/// Args:
///     name: the name in the record; the model sees the tool `deploy_<name>`.
///     method: `kubectl` (sets the image and awaits the rollout) or `command` (runs `argv`).
///     target: the place; with `kubectl` the namespace unless `namespace` says another.
///     image: what is deployed.
///     rollback_to: the image to return to, once, when the rollout fails.
///     namespace, deployment, container, context: for `kubectl`, where the image's name doesn't say.
///     argv, rollback_argv: for `command`; `{image}` and `{target}` may stand inside the words.
///     network, writes, reads, also_runs: for `command`, what it may reach, as with `ShellToken`.
///     timeout: seconds that the rollout may take.
///     min_tier: as with `ShellToken`, while it is in no set.
///
/// Example:
///     >>> token = DeployToken("prod", method="kubectl", target="production", image="app:v2.3.1",
///     ...                     rollback_to="app:v2.3.0", requires_approval=True)
///     >>> proof = await token.consume()
///     >>> proof.outcome
///     'succeeded'
#[pyclass(frozen, extends = LinearToken, module = "linear_agentics.tokens")]
pub struct DeployToken;

#[pymethods]
impl DeployToken {
    #[new]
    #[pyo3(signature = (
        name, method, target, image, *, rollback_to=None, requires_approval=false, required=false,
        expires=None, witness=None, timeout=None, namespace=None, deployment=None, container=None,
        context=None, argv=None, rollback_argv=None, network=None, writes=None, reads=None,
        also_runs=None, min_tier=None
    ))]
    #[allow(clippy::too_many_arguments, reason = "they are keywords, each with a default")]
    fn new(
        name: &str,
        method: &str,
        target: &str,
        image: &str,
        rollback_to: Option<String>,
        requires_approval: bool,
        required: bool,
        expires: Option<&Bound<'_, PyAny>>,
        witness: Option<&str>,
        timeout: Option<&Bound<'_, PyAny>>,
        namespace: Option<String>,
        deployment: Option<String>,
        container: Option<String>,
        context: Option<String>,
        argv: Option<Vec<String>>,
        rollback_argv: Option<Vec<String>>,
        network: Option<Vec<String>>,
        writes: Option<Vec<std::path::PathBuf>>,
        reads: Option<Vec<std::path::PathBuf>>,
        also_runs: Option<Vec<String>>,
        min_tier: Option<&str>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let stray = |field: &str, other: &str| {
            TokenDefinitionError::new_err(format!("`{field}` belongs to `method=\"{other}\"`"))
        };
        let mut builder = match (method, argv) {
            ("kubectl", None) if rollback_argv.is_none() => {
                runtime::DeployToken::kubectl(name, target, image)
            }
            ("kubectl", Some(_)) => return Err(stray("argv", "command")),
            ("kubectl", None) => return Err(stray("rollback_argv", "command")),
            ("command", Some(argv)) => runtime::DeployToken::command(name, target, image, argv),
            ("command", None) => {
                return Err(TokenDefinitionError::new_err(
                    "`argv`: a deployment by `command` says what runs, as a list of words",
                ));
            }
            _ => {
                return Err(TokenDefinitionError::new_err(
                    "`method`: it is `kubectl` or `command`",
                ));
            }
        };
        let places = [
            ("namespace", namespace),
            ("deployment", deployment),
            ("container", container),
            ("context", context),
        ];
        for (field, value) in places {
            let Some(value) = value else { continue };
            builder = match field {
                _ if method == "command" => return Err(stray(field, "kubectl")),
                "namespace" => builder.namespace(value),
                "deployment" => builder.deployment(value),
                "container" => builder.container(value),
                _ => builder.context(value),
            };
        }
        if let Some(image) = rollback_to {
            builder = builder.rollback_to(image);
        }
        if let Some(argv) = rollback_argv {
            builder = builder.rollback_argv(argv);
        }
        if let Some(timeout) = timeout {
            builder = builder.timeout(duration("timeout", timeout)?);
        }
        let builder = with_reach!(builder, network, writes, reads, also_runs);
        let common = Common::new(1, requires_approval, required, expires, witness)?;
        single(with_common!(builder, common).build(), min_tier, Self)
    }

    /// Spends the use: deploys.
    fn consume<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        base!(slf).consume_input(slf.py(), "{}".to_owned())
    }

    /// Raises what `consume` would raise, or returns what would be deployed.
    fn check(slf: &Bound<'_, Self>) -> PyResult<Action> {
        base!(slf).check_input("{}")
    }

    /// Returns to `rollback_to`, once, after the deployment was spent. A use of its own, with a proof
    /// of its own. A rollout that fails is rolled back without this.
    fn rollback<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        base!(slf).roll_back(slf.py())
    }
}
