//! Authority to act once can't be copied or written down.
use lar_core::capability::Capability;

fn copy(capability: &Capability) -> Capability {
    capability.clone()
}

fn write_down(capability: &Capability) -> String {
    serde_json::to_string(capability).unwrap_or_default()
}

fn main() {}
