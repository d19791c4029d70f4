//! A panic outside of a test's own code is seen, although the runtime catches it.

use std::sync::Once;

use parking_lot::Mutex;

static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Notes every panic from here on that is no failed assertion of a test.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let is_ours = panic.location().is_some_and(|place| place.file().contains("tests/it"));
            if !is_ours {
                SEEN.lock().push(panic.to_string());
            }
            before(panic);
        }));
    });
}

/// What panicked so far.
pub(crate) fn seen() -> Vec<String> {
    SEEN.lock().clone()
}
