//! The second port: status page, metrics, health, reload. Never reachable with a tenant's key.

mod api;
mod page;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use http::header::{
    AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN, WWW_AUTHENTICATE,
};
use http::uri::Authority;
use http::{Request, Response, StatusCode};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::api::ApiError;
use crate::config::Config;
use crate::domain::ids::KeyHash;
use crate::gate::Gate;
use crate::keyring::Command;
use crate::record::metrics::CONTENT_TYPE as METRICS_TYPE;

/// Time for a request's head to come in, for its body, and for each piece of the answer to be taken.
const CLIENT_WAIT: Duration = Duration::from_secs(10);

/// Bills that are streamed at once; further ones wait. Each occupies one of the threads that changes of keys
/// and of the config need too.
pub const BILLS_AT_ONCE: usize = 8;

/// Connections at once; further ones are closed. They must not take the descriptors that solves need.
const CONNECTIONS_MAX: usize = 128;

/// No request of the API is larger.
const BODY_BYTES_MAX: usize = 64 << 10;

/// The second port.
#[derive(Debug)]
pub struct Admin {
    /// The door to the state.
    pub gate: Arc<Gate>,
    /// The SHA-256 of the bearer token; `None`: none is asked for.
    pub token: Option<KeyHash>,
    /// Whether requests are welcome: false from the start of a shutdown on.
    pub ready: Arc<AtomicBool>,
    /// The config in force.
    pub config: Arc<ArcSwap<Config>>,
    /// The record's file, for queries.
    pub record: PathBuf,
    /// Where changes are asked for.
    pub commands: mpsc::Sender<Command>,
    /// Room for bills that are being streamed.
    pub bills: Arc<Semaphore>,
}

/// Serves until `stop`.
pub async fn serve(
    admin: Arc<Admin>,
    listener: TcpListener,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let router = router(&admin);
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(permit) = connections.clone().try_acquire_owned() else { continue };
        let (router, stop) = (router.clone(), stop.clone());
        tasks.spawn(async move {
            let _permit = permit;
            let any_head = AtomicBool::new(false);
            let router = TowerToHyperService::new(router);
            let service = service_fn(|request| {
                any_head.store(true, Ordering::Relaxed);
                router.call(request)
            });
            let mut stream = TimeoutStream::new(stream);
            stream.set_write_timeout(Some(CLIENT_WAIT));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(CLIENT_WAIT)
                .serve_connection(TokioIo::new(Box::pin(stream)), service);
            tokio::pin!(connection);
            let served = tokio::select! {
                biased;
                served = connection.as_mut() => served,
                // hyper would wait for the rest of a first head, of a later one it does not.
                () = stop.cancelled() => if any_head.load(Ordering::Relaxed) {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                } else {
                    return;
                },
            };
            if let Err(error) = served {
                tracing::debug!(%error, "an admin connection broke off");
            }
        });
    }
}

/// Everything that is served here.
fn router(admin: &Arc<Admin>) -> Router {
    let open = Router::new().route("/healthz", get(healthz)).route("/readyz", get(ready));
    let closed = Router::new()
        .route("/metrics", get(metrics))
        .route("/-/reload", post(reload))
        .nest("/api/v1", api::routes())
        .fallback(not_found)
        .layer(from_fn_with_state(admin.clone(), authorize));
    open.merge(closed)
        .merge(page::routes())
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(admin.clone())
}

/// Lets in whoever shows the token, where one is set.
async fn authorize(
    State(admin): State<Arc<Admin>>,
    request: Request<Body>,
    next: Next,
) -> Response<Body> {
    if let Err(message) = is_of_this_site(&admin, request.headers()) {
        let status = StatusCode::FORBIDDEN;
        return ApiError { status, reason: "forbidden", message: message.to_owned() }
            .into_response();
    }
    if is_authorized(&admin, request.headers()) {
        return next.run(request).await;
    }
    let message = "send `Authorization: Bearer <admin.token>`".to_owned();
    let error = ApiError { status: StatusCode::UNAUTHORIZED, reason: "unauthorized", message };
    ([(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))], error).into_response()
}

/// Without a token, a page of another site must not reach this through the browser of somebody on this
/// machine: neither by a form, which says where it comes from, nor by a name of its own that it has moved
/// to this address.
fn is_of_this_site(admin: &Admin, headers: &HeaderMap) -> Result<(), &'static str> {
    if admin.token.is_some() {
        return Ok(());
    }
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = text(HOST).unwrap_or_default();
    if text(ORIGIN).is_some_and(|origin| origin.strip_prefix("http://") != Some(host)) {
        return Err("this request comes from a page of another site");
    }
    let name = host.parse::<Authority>().map(|authority| authority.host().to_ascii_lowercase());
    let name = name.unwrap_or_default();
    let is_address = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    if host.is_empty() || is_address || name == "localhost" {
        return Ok(());
    }
    Err("without `admin.token` the admin port is addressed as localhost or by its IP address")
}

/// Compares hashes, in constant time.
fn is_authorized(admin: &Admin, headers: &HeaderMap) -> bool {
    let Some(expected) = &admin.token else { return true };
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(token) = given.and_then(|value| value.strip_prefix("Bearer ")) else { return false };
    let given = crate::wire::secret::Secret::new(token).sha256();
    given.0.ct_eq(&expected.0).into()
}

async fn healthz() -> &'static str {
    "ok\n"
}

/// Ready while requests are welcome. A store that fails does not end that: polls go on.
async fn ready(State(admin): State<Arc<Admin>>) -> (StatusCode, String) {
    if !admin.ready.load(Ordering::Acquire) {
        return (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n".to_owned());
    }
    match admin.gate.store_trouble() {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(why) => (StatusCode::OK, format!("ready; new paid solves are refused: {why}\n")),
    }
}

/// Rendered off the request threads: a scrape must not stall traffic.
async fn metrics(State(admin): State<Arc<Admin>>) -> Result<impl IntoResponse, ApiError> {
    let rendered = tokio::task::spawn_blocking(move || {
        let (snapshot, figures) = (admin.gate.snapshot_in_steps(), admin.gate.store_figures());
        admin.gate.metrics().render(&snapshot, &figures)
    });
    match rendered.await {
        Ok(Ok(body)) => Ok(([(CONTENT_TYPE, METRICS_TYPE)], body)),
        Ok(Err(_)) | Err(_) => Err(ApiError {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            reason: "render_failed",
            message: "metrics cannot be rendered".to_owned(),
        }),
    }
}

async fn reload(State(admin): State<Arc<Admin>>) -> Result<&'static str, ApiError> {
    let ending = || ApiError {
        status: StatusCode::SERVICE_UNAVAILABLE,
        reason: "shutting_down",
        message: "the process is shutting down".to_owned(),
    };
    let (done, outcome) = oneshot::channel();
    admin.commands.send(Command::Reload(done)).await.map_err(|_| ending())?;
    match outcome.await {
        Ok(Ok(())) => Ok("reloaded\n"),
        Ok(Err(message)) => {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            Err(ApiError { status, reason: "config_refused", message })
        }
        Err(_) => Err(ending()),
    }
}

async fn not_found() -> ApiError {
    let message = "served here: /, /metrics, /healthz, /readyz, POST /-/reload, \
                   /api/v1/ (see /api/v1/openapi.json)";
    ApiError { status: StatusCode::NOT_FOUND, reason: "not_found", message: message.to_owned() }
}

async fn not_allowed() -> ApiError {
    ApiError {
        status: StatusCode::METHOD_NOT_ALLOWED,
        reason: "method_not_allowed",
        message: "this path is not served for this method; see the Allow header".to_owned(),
    }
}
