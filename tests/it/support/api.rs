//! A client of the admin API.

use std::net::SocketAddr;

use reqwest::Method;
use serde_json::Value;

use super::TOKEN;

#[derive(Debug)]
pub(crate) struct Api {
    base: String,
    http: reqwest::Client,
}

/// An answer of the API.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.content_type, "application/json", "{self:?}");
        serde_json::from_str(&self.text).unwrap()
    }

    /// The JSON of an answer with that status.
    pub(crate) fn of(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }

    /// The message of an error with that status and reason.
    pub(crate) fn error(&self, status: u16, reason: &str) -> String {
        let error = self.of(status);
        assert_eq!(error["reason"], reason, "{self:?}");
        assert_eq!(error.as_object().unwrap().len(), 2, "{self:?}");
        error["message"].as_str().unwrap().to_owned()
    }
}

impl Api {
    pub(crate) fn of(admin: SocketAddr) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { base: format!("http://{admin}/api/v1"), http: reqwest::Client::new() }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask(Method::GET, path, &[], None).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.ask(Method::DELETE, path, &[], None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.post_text(path, &[("content-type", "application/json")], &body.to_string()).await
    }

    /// A credit under that idempotency key.
    pub(crate) async fn credit(&self, tenant: &str, idempotency: &str, body: &Value) -> Reply {
        let headers = [("content-type", "application/json"), ("idempotency-key", idempotency)];
        self.post_text(&format!("/tenants/{tenant}/credits"), &headers, &body.to_string()).await
    }

    pub(crate) async fn post_text(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        self.ask(Method::POST, path, headers, Some(body.to_owned())).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Reply {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        request = request.header("authorization", format!("Bearer {TOKEN}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let content_type = response.headers().get("content-type");
        let content_type = content_type.map_or("", |it| it.to_str().unwrap()).to_owned();
        let text = response.text().await.unwrap();
        Reply { status, content_type, text }
    }
}
