//! Which paths may stand in a tar.

/// Longest path in bytes.
pub(super) const MAX_PATH: usize = 1024;

/// Says why `path` may not stand in a tar, if so: it is joined to a folder by those who unpack it, and shown on
/// terminals by those who list it.
pub(super) fn fault(path: &str) -> Option<&'static str> {
    if path.len() > MAX_PATH {
        return Some("it is longer than 1024 bytes");
    }
    if path.starts_with('/') {
        return Some("it is absolute");
    }
    if path.contains('\\') {
        return Some("it contains a backslash");
    }
    if path.chars().any(char::is_control) {
        return Some("it contains a control character");
    }
    path.split('/').find_map(|component| match component {
        "" => Some("it has an empty component"),
        "." | ".." => Some("it has a component '.' or '..'"),
        _ => None,
    })
}
