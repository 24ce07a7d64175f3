//! T.
/// T.
pub fn markdown(trail: &lar_core::audit::AuditTrail) -> String { trail.to_json() }
/// T.
pub fn junit(trail: &lar_core::audit::AuditTrail, _: &[String]) -> String { trail.to_json() }
