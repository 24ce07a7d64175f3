//! `lar tools`: what the model will see.

use std::path::PathBuf;

use linear_agentics::definition::{self, ToolDefinition};
use linear_agentics::display::{Mode, escape};
use linear_agentics::manifest::Manifest;
use linear_agentics::report::visible_json;
use serde_json::Value;

use super::try_call::set_of;
use crate::output::{Exit, println};

/// Show the tools that the model will see
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The manifest
    manifest: PathBuf,
    /// Print them as the Messages API takes them: an array of name, description and input_schema
    #[arg(long)]
    json: bool,
}

/// Shows.
pub fn run(args: Args) -> Exit {
    let manifest = match super::read_manifest(&args.manifest) {
        Ok(manifest) => manifest,
        Err(exit) => return exit,
    };
    let tools = match tools(&manifest) {
        Ok(tools) => tools,
        Err(exit) => return exit,
    };
    if args.json {
        let text = serde_json::to_string_pretty(&tools).unwrap_or_default();
        println(&visible_json(&text));
    } else {
        println(tools.iter().map(show).collect::<Vec<_>>().join("\n").trim_end());
    }
    Exit::Complete
}

/// The tools at the start of a run, the runtime's own last.
fn tools(manifest: &Manifest) -> Result<Vec<ToolDefinition>, Exit> {
    let mut tools = set_of(manifest, false)?.tool_definitions();
    tools.push(definition::request_approval());
    if manifest.max_requests > 0 && !manifest.candidates.is_empty() {
        tools.push(definition::request_capability());
    }
    Ok(tools)
}

fn show(tool: &ToolDefinition) -> String {
    let mut text = format!("{}\n  {}\n", tool.name, escape(&tool.description, Mode::Line));
    let names = |key: &str| tool.input_schema.get(key).and_then(Value::as_array).cloned();
    let required = names("required").unwrap_or_default();
    let properties = tool.input_schema.get("properties").and_then(Value::as_object);
    for (name, schema) in properties.into_iter().flatten() {
        let kind = match (schema.get("enum").and_then(Value::as_array), schema.get("type")) {
            (Some(values), _) => {
                values.iter().map(Value::to_string).collect::<Vec<_>>().join(" or ")
            }
            (None, Some(Value::String(kind))) => kind.clone(),
            (None, _) => "any JSON".to_owned(),
        };
        let needed = if required.iter().any(|one| one == name) { "" } else { ", optional" };
        let about = schema.get("description").and_then(Value::as_str).unwrap_or_default();
        let line = format!("{name} ({kind}{needed}) {about}");
        text.push_str(&format!("    {}\n", escape(line.trim_end(), Mode::Line)));
    }
    text
}
