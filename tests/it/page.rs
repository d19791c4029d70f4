//! The status page: every file is there with its type, behind a policy that lets nothing else in, and no
//! file names an address outside.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Setup, World};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/admin/page");

/// Addresses that are no request: the home of the library in its own banner, and a name of a language.
const NAMES: [&str; 2] = ["https://github.com/leeoniya/uPlot", "http://www.w3.org/2000/svg"];

#[tokio::test(flavor = "multi_thread")]
async fn every_file_of_the_page_is_served_without_the_token_and_with_its_type_and_policy() {
    let rest = "admin: { listen: '127.0.0.1:0', token: a-long-enough-token }".to_owned();
    let world = World::start(Setup { rest, ..Setup::default() }).await;
    let refused = world.admin(&request("/api/v1/slo")).await;
    assert_eq!(refused.status, 401, "what the page shows still needs the token");

    for path in files() {
        let answer = world.admin(&request(&address(&path))).await;

        assert_eq!(answer.status, 200, "{}", path.display());
        assert!(answer.body == fs::read(&path).unwrap(), "{} differs", path.display());
        let kind = match path.extension().and_then(|it| it.to_str()) {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/plain; charset=utf-8",
        };
        assert_eq!(answer.header("content-type"), Some(kind), "{}", path.display());
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"));
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"));
    }
    world.close(0).await;
}

#[test]
fn the_page_names_no_address_outside_and_holds_no_script_of_its_own() {
    for path in files() {
        if path.ends_with("LICENSE") {
            continue;
        }
        let text = NAMES
            .iter()
            .fold(fs::read_to_string(&path).unwrap(), |text, name| text.replace(name, ""));
        for outside in ["http:", "https:", "\"//", "'//", "url(", "@import", "eval(", "innerHTML"] {
            let is_code_of_ours = !path.components().any(|part| part.as_os_str() == "vendor");
            let is_address = outside.contains(':') || outside.contains('/');
            let found = (is_code_of_ours || is_address) && text.contains(outside);
            assert!(!found, "{} has {outside}", path.display());
        }
    }
    let html = fs::read_to_string(Path::new(FOLDER).join("index.html")).unwrap();
    let named: BTreeSet<String> = ["src=\"", "href=\""]
        .iter()
        .flat_map(|mark| html.split(mark).skip(1))
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .filter(|target| !target.starts_with('#'))
        .collect();
    let served: BTreeSet<String> =
        files().iter().map(|path| address(path).trim_start_matches('/').to_owned()).collect();
    assert!(named.len() >= 5);
    assert_eq!(named.difference(&served).collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(!html.contains("style=") && !html.contains(" onclick") && !html.contains("<style"));
}

#[test]
fn the_page_stays_small() {
    let bytes: u64 = files().iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes < 200_000, "{bytes} bytes");
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

fn address(path: &Path) -> String {
    let inside = path.strip_prefix(FOLDER).unwrap().to_str().unwrap();
    if inside == "index.html" { "/".to_owned() } else { format!("/ui/{inside}") }
}

/// All files of the page but the note for whoever updates the library.
fn files() -> Vec<PathBuf> {
    let folders = [PathBuf::from(FOLDER), Path::new(FOLDER).join("vendor")];
    let found: Vec<PathBuf> = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file() && !path.ends_with("README.md"))
        .collect();
    assert!(found.len() > 10, "{found:?}");
    found
}
