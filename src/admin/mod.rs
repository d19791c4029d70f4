//! The second port: metrics, health, reload. Never reachable with a tenant's key.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::ids::KeyHash;
use crate::gate::Gate;
use crate::keyring::Command;
use crate::record::metrics::CONTENT_TYPE as METRICS_TYPE;

/// Time for a request's head to come in.
const HEAD_WAIT: Duration = Duration::from_secs(10);

/// The second port.
#[derive(Debug)]
pub struct Admin {
    /// The door to the state.
    pub gate: Arc<Gate>,
    /// The SHA-256 of the bearer token; `None`: none is asked for.
    pub token: Option<KeyHash>,
    /// Whether requests are welcome: false from the start of a shutdown on.
    pub ready: Arc<AtomicBool>,
    /// Where changes are asked for.
    pub commands: mpsc::Sender<Command>,
}

/// Serves until `stop`.
pub async fn serve(
    admin: Arc<Admin>,
    listener: TcpListener,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (admin, stop) = (admin.clone(), stop.clone());
        tasks.spawn(async move {
            let service = service_fn(|request| {
                let admin = admin.clone();
                async move { Ok::<_, Infallible>(answer(&admin, request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WAIT)
                .serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            let served = tokio::select! {
                served = connection.as_mut() => served,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = served {
                tracing::debug!(%error, "an admin connection broke off");
            }
        });
    }
}

async fn answer(admin: &Arc<Admin>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let open = matches!(path, "/healthz" | "/readyz");
    if !open && !is_authorized(admin, &request) {
        let mut response = error(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "send `Authorization: Bearer <admin.token>`",
        );
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    }
    match (path, request.method()) {
        ("/healthz", &Method::GET | &Method::HEAD) => text(StatusCode::OK, "ok\n"),
        ("/readyz", &Method::GET | &Method::HEAD) => ready(admin),
        ("/metrics", &Method::GET | &Method::HEAD) => metrics(admin.clone()).await,
        ("/-/reload", &Method::POST) => reload(admin).await,
        ("/healthz" | "/readyz" | "/metrics", _) => not_allowed("GET, HEAD"),
        ("/-/reload", _) => not_allowed("POST"),
        _ => error(
            StatusCode::NOT_FOUND,
            "not_found",
            "served here: /metrics, /healthz, /readyz, POST /-/reload",
        ),
    }
}

/// Compares hashes, in constant time.
fn is_authorized(admin: &Admin, request: &Request<Incoming>) -> bool {
    let Some(expected) = &admin.token else { return true };
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(token) = given.and_then(|value| value.strip_prefix("Bearer ")) else { return false };
    let given = crate::wire::secret::Secret::new(token).sha256();
    given.0.ct_eq(&expected.0).into()
}

/// Ready while requests are welcome. A store that fails does not end that: polls go on.
fn ready(admin: &Admin) -> Response<Full<Bytes>> {
    if !admin.ready.load(Ordering::Acquire) {
        return text(StatusCode::SERVICE_UNAVAILABLE, "shutting down\n");
    }
    match admin.gate.store_trouble() {
        None => text(StatusCode::OK, "ready\n"),
        Some(why) => text(StatusCode::OK, &format!("ready; new paid solves are refused: {why}\n")),
    }
}

/// Rendered off the request threads: a scrape must not stall traffic.
async fn metrics(admin: Arc<Admin>) -> Response<Full<Bytes>> {
    let rendered = tokio::task::spawn_blocking(move || {
        let (snapshot, figures) = (admin.gate.snapshot(), admin.gate.store_figures());
        admin.gate.metrics().render(&snapshot, &figures)
    });
    match rendered.await {
        Ok(Ok(body)) => {
            let mut response = Response::new(Full::new(Bytes::from(body)));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(METRICS_TYPE));
            response
        }
        Ok(Err(_)) | Err(_) => {
            error(StatusCode::INTERNAL_SERVER_ERROR, "render_failed", "metrics cannot be rendered")
        }
    }
}

async fn reload(admin: &Admin) -> Response<Full<Bytes>> {
    let (sender, outcome) = oneshot::channel();
    if admin.commands.send(Command::Reload(sender)).await.is_err() {
        return error(
            StatusCode::SERVICE_UNAVAILABLE,
            "shutting_down",
            "the process is shutting down",
        );
    }
    match outcome.await {
        Ok(Ok(())) => text(StatusCode::OK, "reloaded\n"),
        Ok(Err(why)) => error(StatusCode::UNPROCESSABLE_ENTITY, "config_refused", &why),
        Err(_) => {
            error(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", "the process is shutting down")
        }
    }
}

fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn error(status: StatusCode, reason: &str, message: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({ "reason": reason, "message": message }).to_string();
    let mut response = text(status, &body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn not_allowed(methods: &'static str) -> Response<Full<Bytes>> {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", methods);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}
