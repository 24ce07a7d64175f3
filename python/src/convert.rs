//! Between Python's values and JSON text. Python's own `json` makes and reads the text; what a text
//! means is judged by the runtime, strictly.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict, PyDict, PyString};
use serde::Serialize;

use crate::errors::InvalidInputError;

fn function<'py>(
    py: Python<'py>,
    cell: &'static PyOnceLock<Py<PyAny>>,
    name: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let get = || PyResult::Ok(py.import("json")?.getattr(name)?.unbind());
    Ok(cell.get_or_try_init(py, get)?.bind(py).clone())
}

/// A Python value as JSON text. What JSON has no word for is refused.
pub fn to_json(value: &Bound<'_, PyAny>) -> PyResult<String> {
    static DUMPS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = value.py();
    let options = [("allow_nan", false)].into_py_dict(py)?;
    let text = function(py, &DUMPS, "dumps")?.call((value,), Some(&options)).map_err(|error| {
        InvalidInputError::new_err(format!("the input is no JSON: {}", error.value(py)))
    })?;
    text.extract()
}

/// JSON text as a Python value.
pub fn from_json<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    function(py, &LOADS, "loads")?.call1((text,))
}

/// Anything that the runtime can write down, as a Python value.
pub fn to_python<'py, T: Serialize>(py: Python<'py>, value: &T) -> PyResult<Bound<'py, PyAny>> {
    let text = serde_json::to_string(value).map_err(|error| {
        pyo3::exceptions::PyValueError::new_err(format!("this can't be written down: {error}"))
    })?;
    from_json(py, &text)
}

/// A tool's input: a JSON text as it is, so that the runtime sees the model's exact bytes, or a
/// mapping.
pub fn input(value: &Bound<'_, PyAny>) -> PyResult<String> {
    match value.cast::<PyString>() {
        Ok(text) => text_of(text),
        Err(_) => to_json(value),
    }
}

/// A text, or the refusal of one that is no Unicode.
pub fn text_of(text: &Bound<'_, PyString>) -> PyResult<String> {
    text.extract::<String>().map_err(|_| {
        InvalidInputError::new_err("the text holds a lone surrogate; it is no Unicode")
    })
}

/// The fields of an input as JSON text; those that are `None` are left out.
pub fn fields(py: Python<'_>, fields: &[(&str, Option<Bound<'_, PyAny>>)]) -> PyResult<String> {
    let object = PyDict::new(py);
    for (name, value) in fields {
        if let Some(value) = value.as_ref().filter(|value| !value.is_none()) {
            object.set_item(name, value)?;
        }
    }
    to_json(&object)
}
