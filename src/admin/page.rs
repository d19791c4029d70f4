//! The status page: plain files, built in. They hold no data, so they need no token; what they show comes
//! from the API, which asks for it.

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderName;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::routing::get;

use super::Admin;

/// A path, the type it is served as, and what is served.
struct Asset(&'static str, &'static str, &'static str);

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";
const TEXT: &str = "text/plain; charset=utf-8";

const ASSETS: [Asset; 13] = [
    Asset("/", HTML, include_str!("page/index.html")),
    Asset("/ui/style.css", STYLE, include_str!("page/style.css")),
    Asset("/ui/icon.svg", IMAGE, include_str!("page/icon.svg")),
    Asset("/ui/app.js", SCRIPT, include_str!("page/app.js")),
    Asset("/ui/api.js", SCRIPT, include_str!("page/api.js")),
    Asset("/ui/dom.js", SCRIPT, include_str!("page/dom.js")),
    Asset("/ui/charts.js", SCRIPT, include_str!("page/charts.js")),
    Asset("/ui/budgets.js", SCRIPT, include_str!("page/budgets.js")),
    Asset("/ui/overview.js", SCRIPT, include_str!("page/overview.js")),
    Asset("/ui/tenants.js", SCRIPT, include_str!("page/tenants.js")),
    Asset("/ui/solves.js", SCRIPT, include_str!("page/solves.js")),
    Asset("/ui/vendor/uPlot.min.css", STYLE, include_str!("page/vendor/uPlot.min.css")),
    Asset("/ui/vendor/uPlot.iife.min.js", SCRIPT, include_str!("page/vendor/uPlot.iife.min.js")),
];

/// Whoever ships the binary ships the library, so its licence goes along.
const LICENCE: Asset = Asset("/ui/vendor/LICENSE", TEXT, include_str!("page/vendor/LICENSE"));

/// Nothing but this page's own files, no script inside the HTML, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// `/` and `/ui/`.
pub(super) fn routes() -> Router<Arc<Admin>> {
    ASSETS.into_iter().chain([LICENCE]).fold(Router::new(), |router, Asset(path, kind, body)| {
        router.route(path, get(async move || (headers(kind), body)))
    })
}

/// `no-store`: after an update the page and its scripts must be of one version.
fn headers(kind: &'static str) -> [(HeaderName, &'static str); 5] {
    [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ]
}
