//! Points at which a process test may end us.

/// Ends the process here, without any goodbye, if `SEAMLESS_FAIL` names this point. Does nothing
/// without the feature `failpoints`.
pub(super) fn point(name: &str) {
    #[cfg(feature = "failpoints")]
    {
        static NAMED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
        let named = NAMED.get_or_init(|| std::env::var("SEAMLESS_FAIL").ok());
        if named.as_deref() == Some(name) {
            std::process::abort();
        }
    }
    let _ = name;
}
