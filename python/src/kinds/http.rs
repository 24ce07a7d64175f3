//! Tokens for requests.

use std::collections::BTreeMap;

use linear_agentics::tokens as runtime;
use pyo3::prelude::*;

use super::{Common, base, duration, single, with_common};
use crate::action::Action;
use crate::convert;
use crate::token::LinearToken;

/// A request to one URL. No redirect is followed, and no proxy of the environment is used.
///
/// Args:
///     name: the name in the record, and the tool's name.
///     url: the URL; the model can't change it.
///     methods: the methods that may be used.
///     headers: sent with every request. A secret belongs into a `SecretToken`.
///     max_uses: how many requests may be sent.
///     timeout: seconds for the whole request.
///     max_body: the most bytes of a body, sent or received.
///     tls_roots: certificates in PEM, as text. Only what these vouch for is trusted, and nothing that
///         the system trusts.
///
/// Example:
///     >>> token = HttpToken("health", url="https://api.internal/health", methods=["GET"])
///     >>> proof = await token.consume()
///     >>> proof.http_status
///     200
#[pyclass(frozen, extends = LinearToken, module = "linear_agentics.tokens")]
pub struct HttpToken;

#[pymethods]
impl HttpToken {
    #[new]
    #[pyo3(signature = (
        name, url, methods, *, headers=None, max_uses=1, requires_approval=false,
        required=false, expires=None, witness=None, timeout=None, max_body=None, tls_roots=None
    ))]
    #[allow(clippy::too_many_arguments, reason = "they are keywords, each with a default")]
    fn new(
        name: &str,
        url: &str,
        methods: Vec<String>,
        headers: Option<BTreeMap<String, String>>,
        max_uses: u32,
        requires_approval: bool,
        required: bool,
        expires: Option<&Bound<'_, PyAny>>,
        witness: Option<&str>,
        timeout: Option<&Bound<'_, PyAny>>,
        max_body: Option<u64>,
        tls_roots: Option<String>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let common = Common::new(max_uses, requires_approval, required, expires, witness)?;
        let mut builder = with_common!(runtime::HttpToken::new(name, url, methods), common);
        for (name, value) in headers.into_iter().flatten() {
            builder = builder.header(name, value);
        }
        if let Some(timeout) = timeout {
            builder = builder.timeout(duration("timeout", timeout)?);
        }
        if let Some(bytes) = max_body {
            builder = builder.max_body(bytes);
        }
        if let Some(pem) = tls_roots {
            builder = builder.tls_roots(pem);
        }
        single(builder.build(), None, Self)
    }

    /// Spends a use on a request. `method` may be left out where only one is allowed; `body` is sent
    /// as JSON.
    #[pyo3(signature = (method=None, body=None))]
    fn consume<'py>(
        slf: &Bound<'py, Self>,
        method: Option<Bound<'py, PyAny>>,
        body: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let input = convert::fields(slf.py(), &[("method", method), ("body", body)])?;
        base!(slf).consume_input(slf.py(), input)
    }

    /// Raises what `consume` would raise, or returns what would be sent.
    #[pyo3(signature = (method=None, body=None))]
    fn check<'py>(
        slf: &Bound<'py, Self>,
        method: Option<Bound<'py, PyAny>>,
        body: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Action> {
        let input = convert::fields(slf.py(), &[("method", method), ("body", body)])?;
        base!(slf).check_input(&input)
    }
}
