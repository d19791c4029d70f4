//! One outcome on demand: what a page URL on the host `sim.test` asks to happen.

use std::sync::Arc;
use std::time::Duration;

use super::request::Form;

/// What a submission wishes for itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    /// Exactly this solve time: not scaled, no jitter.
    pub(super) solve: Option<Duration>,
    pub(super) submit_error: Option<Arc<str>>,
    pub(super) error: Option<Arc<str>>,
    pub(super) never: bool,
    pub(super) answer: Option<Arc<str>>,
}

impl Wish {
    pub(super) fn of(form: &Form<'_>) -> Self {
        ["pageurl", "page", "textinstructions"]
            .iter()
            .filter_map(|name| form.get(name))
            .find_map(Self::read)
            .unwrap_or_default()
    }

    fn read(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
        let (host, query) = rest.split_once('?')?;
        let (host, _) = host.split_once('/').unwrap_or((host, ""));
        if host != "sim.test" {
            return None;
        }
        let mut wish = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "solve" => wish.solve = humantime::parse_duration(&value).ok(),
                "submit_error" => wish.submit_error = Some(value.as_ref().into()),
                "error" => wish.error = Some(value.as_ref().into()),
                "never" => wish.never = true,
                "answer" => wish.answer = Some(value.as_ref().into()),
                _ => {}
            }
        }
        Some(wish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_on_sim_test_says_what_shall_happen() {
        let query = "pageurl=https%3A%2F%2Fsim.test%2Flogin%3Fsolve%3D3s%26error%3DERROR_X%26answer%3Da%2Bb";

        let wish = Wish::of(&Form::read(query, "", b""));

        assert_eq!(wish.solve, Some(Duration::from_secs(3)));
        assert_eq!(wish.error.as_deref(), Some("ERROR_X"));
        assert_eq!(wish.answer.as_deref(), Some("a b"));
    }

    #[test]
    fn any_other_page_wishes_nothing() {
        for page in
            ["https://example.com/?error=ERROR_X", "https://sim.test.evil/?never", "sim.test?never"]
        {
            let form = form_urlencoded::Serializer::new(String::new())
                .append_pair("pageurl", page)
                .finish();

            assert_eq!(Wish::of(&Form::read(&form, "", b"")), Wish::default(), "{page}");
        }
    }
}
