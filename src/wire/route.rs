//! Which endpoint a path means, and the tenant that its prefix names.

use percent_encoding::percent_decode_str;

/// What the provider's paths do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `in.php`: submits, answers a task id.
    In,
    /// `res.php`: polls, reports, account calls.
    Res,
    /// `solve.php`: submits and waits for the answer.
    Solve,
}

/// A path that the sidecar serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The tenant of a `/t/<tenant>/` prefix, percent-decoded; not checked against any list.
    pub tenant: Option<String>,
}

/// Matches the last segment exactly, under any prefix; `None` for every other path, and for a
/// `/t/<tenant>/` whose tenant is empty or not UTF-8.
pub fn route(path: &str) -> Option<Route> {
    let slash = path.bytes().rposition(|byte| byte == b'/');
    let (before, last) = slash.map_or(("", path), |at| (&path[..at], &path[at + 1..]));
    let endpoint = match last {
        "in.php" => Endpoint::In,
        "res.php" => Endpoint::Res,
        "solve.php" => Endpoint::Solve,
        _ => return None,
    };
    let tenant = match before.rsplit_once('/') {
        Some((before, tenant)) if before.rsplit('/').next() == Some("t") => {
            Some(decode_tenant(tenant)?)
        }
        _ => None,
    };
    Some(Route { endpoint, tenant })
}

fn decode_tenant(segment: &str) -> Option<String> {
    let tenant = percent_decode_str(segment).decode_utf8().ok()?;
    (!tenant.is_empty()).then(|| tenant.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &str) -> Option<(Endpoint, Option<String>)> {
        route(path).map(|route| (route.endpoint, route.tenant))
    }

    #[test]
    fn the_last_segment_decides_under_any_prefix() {
        for (path, endpoint, tenant) in [
            ("/in.php", Endpoint::In, None),
            ("/res.php", Endpoint::Res, None),
            ("/solve.php", Endpoint::Solve, None),
            ("//in.php", Endpoint::In, None),
            ("/any/prefix/res.php", Endpoint::Res, None),
            ("/t/in.php", Endpoint::In, None),
            ("/t/acme/in.php", Endpoint::In, Some("acme")),
            ("/foo/t/acme/res.php", Endpoint::Res, Some("acme")),
            ("/t/a/t/b/solve.php", Endpoint::Solve, Some("b")),
            ("/t/acme/x/in.php", Endpoint::In, None),
            ("/t/a%20c%C3%A9/in.php", Endpoint::In, Some("a cé")),
            ("/t/in.php/in.php", Endpoint::In, Some("in.php")),
        ] {
            assert_eq!(shown(path), Some((endpoint, tenant.map(str::to_owned))), "{path}");
        }
    }

    #[test]
    fn every_other_path_is_unknown() {
        for path in [
            "",
            "/",
            "*",
            "/in.php/",
            "/in.php/x",
            "/IN.PHP",
            "/in.php5",
            "/xin.php",
            "/load.php",
            "/in%2Ephp",
            "/createTask",
            "/in.php%00",
            "/t//in.php",
            "/t/%ff/in.php",
        ] {
            assert_eq!(shown(path), None, "{path}");
        }
    }
}
