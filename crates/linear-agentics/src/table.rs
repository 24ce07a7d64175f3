//! T.
/// T.
pub fn render(trail: &lar_core::audit::AuditTrail, _: Option<u16>) -> String { trail.to_json() }
