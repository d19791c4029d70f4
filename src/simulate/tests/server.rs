//! The shell: HTTP framing, up and down, synchronous solves, pingbacks.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{KEY, call, get, poll, received, simulation, submission, submit};
use crate::simulate::{Down, Simulation};

async fn exchange(simulation: &Simulation, parts: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(simulation.addr()).await.unwrap();
    for part in parts {
        stream.write_all(part).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn every_form_of_body_arrives() {
    let simulation = simulation();
    let body = format!("key={KEY}&action=getbalance");
    let (left, right) = body.split_at(10);
    let chunked = format!(
        "POST /res.php HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
        {:x}\r\n{left}\r\n{:X};ext=1\r\n{right}\r\n0\r\nTrailer: 1\r\n\r\n",
        left.len(),
        right.len()
    );
    let split = format!(
        "POST /res.php HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );

    assert!(exchange(&simulation, &[chunked.as_bytes()]).await.ends_with("\r\n\r\n10.00"));
    let bytes: Vec<&[u8]> = split.as_bytes().chunks(7).collect();
    assert!(exchange(&simulation, &bytes).await.ends_with("\r\n\r\n10.00"));
}

#[tokio::test]
async fn one_connection_serves_many_requests_also_at_once() {
    let simulation = simulation();
    let balance = format!("GET /res.php?key={KEY}&action=getbalance HTTP/1.1\r\n");
    let pipelined = format!("{balance}\r\n{balance}\r\n{balance}Connection: close\r\n\r\n");

    let answers = exchange(&simulation, &[pipelined.as_bytes()]).await;

    assert_eq!(answers.matches("10.00").count(), 3, "{answers}");
}

#[tokio::test]
async fn a_client_that_expects_100_gets_it_before_it_sends() {
    let simulation = simulation();
    let mut stream = TcpStream::connect(simulation.addr()).await.unwrap();
    let body = format!("key={KEY}&action=getbalance");
    let head = format!(
        "POST /res.php HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\
        Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");

    stream.write_all(body.as_bytes()).await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();

    assert!(rest.ends_with("10.00"), "{rest}");
}

#[tokio::test]
async fn what_is_no_http_is_a_bad_request() {
    let simulation = simulation();

    for bytes in
        [&b"nonsense\r\n\r\n"[..], b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"\xff\r\n\r\n"]
    {
        assert_eq!(received(&exchange(&simulation, &[bytes]).await).status, 400);
    }
}

#[tokio::test]
async fn content_types_and_cross_origin_follow_the_request() {
    let simulation = simulation();

    let text = get(simulation.addr(), &poll("1")).await;
    let json = get(simulation.addr(), &format!("{}&json=1&header_acao=1", poll("1"))).await;

    assert!(text.head.contains("Content-Type: text/html"));
    assert!(json.head.contains("Content-Type: application/json"));
    assert!(json.head.contains("Access-Control-Allow-Origin: *"));
    assert_eq!((text.status, json.status), (200, 200));
}

#[tokio::test]
async fn an_uploaded_file_is_an_image() {
    let simulation = simulation();
    let part = |disposition: &str, content: &str| {
        format!("--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{content}\r\n")
    };
    let body = part("name=\"key\"", KEY)
        + &part("name=\"method\"", "post")
        + &part("name=\"file\"; filename=\"c.png\"", "PNG")
        + "--b--\r\n";
    let multipart = "Content-Type: multipart/form-data; boundary=b\r\n";

    let answer = call(simulation.addr(), "POST", "/in.php", multipart, body.as_bytes()).await;

    assert!(answer.body.starts_with("OK|"), "{}", answer.body);
    assert_eq!(simulation.control().tasks()[0].captcha_type, "image");
}

#[tokio::test]
async fn solve_php_answers_when_it_is_solved() {
    let simulation = simulation();
    let solve =
        format!("/solve.php?key={KEY}&body=aGk=&textinstructions=https://sim.test/?solve=30ms");

    let answer = get(simulation.addr(), &solve).await.body;

    let task = &simulation.control().tasks()[0];
    assert_eq!(answer, format!("OK|answer-{}", task.id));
    assert_eq!(task.ready_ms.unwrap() - task.submitted_ms, 30);
    assert_eq!(simulation.control().log(0)[0].task.as_deref(), Some(task.id.as_str()));
}

#[tokio::test]
async fn down_breaks_every_connection_and_up_serves_again() {
    let simulation = simulation();
    let control = simulation.control();
    for how in [Down::Reset, Down::Refuse] {
        let mut idle = TcpStream::connect(simulation.addr()).await.unwrap();
        idle.write_all(format!("GET {} HTTP/1.1\r\n\r\n", submission()).as_bytes()).await.unwrap();
        assert!(idle.read(&mut [0; 4096]).await.unwrap() > 0);
        let seen = control.last_logged();

        control.down(how).await;

        let error = idle.read(&mut [0; 16]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{how:?}");
        match TcpStream::connect(simulation.addr()).await {
            Err(error) => {
                assert_eq!((how, error.kind()), (Down::Refuse, ErrorKind::ConnectionRefused));
            }
            Ok(mut stream) => {
                stream.write_all(b"GET /in.php HTTP/1.1\r\n\r\n").await.unwrap();
                let error = stream.read(&mut [0; 16]).await.unwrap_err();
                assert_eq!((how, error.kind()), (Down::Reset, ErrorKind::ConnectionReset));
                assert_eq!(get(simulation.addr(), "/-/tasks").await.status, 200);
            }
        }
        assert_eq!(control.last_logged(), seen);
        control.up().await.unwrap();
        submit(simulation.addr()).await;
    }
}

#[tokio::test]
async fn down_over_http_comes_up_by_itself() {
    let simulation = simulation();
    let down = br#"{"mode":"refuse","for":"20ms"}"#;

    assert_eq!(call(simulation.addr(), "POST", "/-/down", "", down).await.status, 200);
    let error = TcpStream::connect(simulation.addr()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    simulation.control().up().await.unwrap();

    submit(simulation.addr()).await;
}

#[tokio::test]
async fn a_pingback_tells_id_and_answer() {
    let simulation = simulation();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target =
        format!("{}&pingback=http://{}/done", submission(), listener.local_addr().unwrap());

    let id = get(simulation.addr(), &target).await.body[3..].to_owned();
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = [0; 4096];
    let count = stream.read(&mut bytes).await.unwrap();

    let request = String::from_utf8_lossy(&bytes[..count]).into_owned();
    assert!(
        request.starts_with(&format!("GET /done?id={id}&code=answer-{id}-turnstile-")),
        "{request}"
    );
}

#[tokio::test]
async fn stop_ends_what_hangs_and_frees_the_port() {
    let simulation = simulation();
    let addr = simulation.addr();
    let mut idle = TcpStream::connect(addr).await.unwrap();
    submit(addr).await;

    tokio::time::timeout(Duration::from_secs(5), simulation.stop()).await.unwrap();

    assert!(!matches!(idle.read(&mut [0; 16]).await, Ok(count) if count > 0));
    TcpListener::bind(addr).await.unwrap();
}
