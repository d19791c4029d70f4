//! What a call asks for: the captcha type of a submission, the action of a `res.php` call.

use super::{Call, Malformed};
use crate::domain::captcha_type::CaptchaType;
use crate::domain::ids::TaskId;
use crate::wire::route::Endpoint;

/// More tasks than one poll may ask about.
const IDS_MAX: usize = 100;

/// What `res.php` is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The answer of one or several tasks.
    Get(Ids),
    /// The same with the price of each.
    Get2(Ids),
    /// The balance.
    GetBalance,
    /// Threads bought and busy.
    ThreadsInfo,
    /// The answer was right.
    ReportGood(TaskId),
    /// The answer was wrong.
    ReportBad(TaskId),
}

/// Whose answer is asked for; the form of the question is the form of the reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ids {
    /// `id=1`.
    One(TaskId),
    /// `ids=1,2,3`, at least one and at most 100, in the order asked.
    Many(Vec<TaskId>),
}

impl Ids {
    /// The ids in the order asked.
    pub fn as_slice(&self) -> &[TaskId] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }
}

pub(super) fn action(call: &Call) -> Result<Action, Malformed> {
    let action = call.param("action").unwrap_or_default();
    match &*action {
        "" => Err(Malformed::EmptyAction),
        "get" => ids(call).map(Action::Get),
        "get2" => ids(call).map(Action::Get2),
        "getbalance" => Ok(Action::GetBalance),
        "threadsinfo" => Ok(Action::ThreadsInfo),
        "reportgood" => id(call).map(Action::ReportGood),
        "reportbad" => id(call).map(Action::ReportBad),
        _ => Err(Malformed::UnknownAction),
    }
}

fn id(call: &Call) -> Result<TaskId, Malformed> {
    call.param("id").and_then(|id| TaskId::new(&id)).ok_or(Malformed::WrongId)
}

fn ids(call: &Call) -> Result<Ids, Malformed> {
    let ids = call.param("ids").unwrap_or_default();
    if ids.is_empty() {
        return id(call).map(Ids::One);
    }
    if call.param("id").is_some_and(|id| !id.is_empty()) {
        return Err(Malformed::IdAndIds);
    }
    if ids.split(',').nth(IDS_MAX).is_some() {
        return Err(Malformed::TooManyIds);
    }
    let valid: Option<Vec<TaskId>> = ids.split(',').map(|id| TaskId::new(id.trim())).collect();
    valid.map(Ids::Many).ok_or(Malformed::WrongId)
}

/// The table of the provider's methods; a flag counts only as `1` or `true`, because clients send
/// `enterprise=0` and `invisible=false` as well.
pub(super) fn captcha_type(call: &Call) -> CaptchaType {
    let is_set = |name| call.is_truthy(name);
    let is_version = |version| call.param("version").as_deref() == Some(version);
    let method = call.param("method").unwrap_or_default().to_ascii_lowercase();
    match method.as_str() {
        "" if call.endpoint() == Endpoint::Solve => image(call),
        "post" | "base64" => image(call),
        "userrecaptcha" => match (is_version("v3"), is_set("enterprise")) {
            (true, true) => CaptchaType::RecaptchaV3Enterprise,
            (true, false) => CaptchaType::RecaptchaV3,
            (false, true) => CaptchaType::RecaptchaV2Enterprise,
            (false, false) if is_set("invisible") => CaptchaType::RecaptchaV2Invisible,
            (false, false) => CaptchaType::RecaptchaV2,
        },
        "geetest" if is_version("4") => CaptchaType::GeetestV4,
        "geetest" => CaptchaType::GeetestV3,
        "geetest_v4" => CaptchaType::GeetestV4,
        "bls" => CaptchaType::Bls,
        "canvas" => CaptchaType::Canvas,
        "turnstile" => CaptchaType::Turnstile,
        "cloudflare_challenge" => CaptchaType::CloudflareChallenge,
        "captchafox" => CaptchaType::Captchafox,
        "friendly_captcha" => CaptchaType::FriendlyCaptcha,
        "lemin" => CaptchaType::Lemin,
        "hcaptcha" => CaptchaType::Hcaptcha,
        "funcaptcha" => CaptchaType::Funcaptcha,
        "audio" => CaptchaType::Audio,
        "amazon_waf" => CaptchaType::AmazonWaf,
        "mt_captcha" => CaptchaType::MtCaptcha,
        "datadome" => CaptchaType::Datadome,
        "keycaptcha" => CaptchaType::Keycaptcha,
        _ => CaptchaType::Other,
    }
}

fn image(call: &Call) -> CaptchaType {
    let has = |name| call.has(name);
    if has("textcaptcha") {
        CaptchaType::Text
    } else if call.is_truthy("canvas") {
        CaptchaType::Canvas
    } else if call.is_truthy("coordinatescaptcha") {
        CaptchaType::Coordinates
    } else if has("img_type")
        || has("grid_size")
        || has("recaptcharows")
        || has("recaptchacols")
        || call.is_truthy("recaptcha")
    {
        CaptchaType::Grid
    } else {
        CaptchaType::Image
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::get;
    use super::*;

    #[test]
    fn the_method_and_its_flags_decide_the_type() {
        for (query, expected) in [
            ("method=post", CaptchaType::Image),
            ("method=base64&body=x&numeric=1", CaptchaType::Image),
            ("method=BASE64&img_type=recaptcha", CaptchaType::Grid),
            ("method=post&grid_size=4x4", CaptchaType::Grid),
            ("method=post&recaptcha=1", CaptchaType::Grid),
            ("method=post&recaptcha=0", CaptchaType::Image),
            ("method=post&recaptcharows=3", CaptchaType::Grid),
            ("method=post&recaptchacols=3", CaptchaType::Grid),
            ("method=post&textcaptcha=2%2B2", CaptchaType::Text),
            ("method=post&canvas=1&recaptcha=1", CaptchaType::Canvas),
            ("method=base64&coordinatescaptcha=1", CaptchaType::Coordinates),
            ("method=userrecaptcha", CaptchaType::RecaptchaV2),
            ("method=userrecaptcha&version=v2&enterprise=0", CaptchaType::RecaptchaV2),
            ("method=userrecaptcha&invisible=false", CaptchaType::RecaptchaV2),
            ("method=userrecaptcha&invisible=true", CaptchaType::RecaptchaV2Invisible),
            ("method=userrecaptcha&enterprise=1&invisible=1", CaptchaType::RecaptchaV2Enterprise),
            ("method=userrecaptcha&version=v3", CaptchaType::RecaptchaV3),
            ("method=userrecaptcha&version=v3&enterprise=1", CaptchaType::RecaptchaV3Enterprise),
            ("method=geetest", CaptchaType::GeetestV3),
            ("method=geetest&version=4", CaptchaType::GeetestV4),
            ("method=geetest_v4", CaptchaType::GeetestV4),
            ("method=bls", CaptchaType::Bls),
            ("method=turnstile", CaptchaType::Turnstile),
            ("method=cloudflare_challenge", CaptchaType::CloudflareChallenge),
            ("method=captchafox", CaptchaType::Captchafox),
            ("method=friendly_captcha", CaptchaType::FriendlyCaptcha),
            ("method=lemin", CaptchaType::Lemin),
            ("method=hcaptcha", CaptchaType::Hcaptcha),
            ("method=funcaptcha", CaptchaType::Funcaptcha),
            ("method=audio", CaptchaType::Audio),
            ("method=amazon_waf", CaptchaType::AmazonWaf),
            ("method=mt_captcha", CaptchaType::MtCaptcha),
            ("method=datadome", CaptchaType::Datadome),
            ("method=keycaptcha", CaptchaType::Keycaptcha),
            ("method=tencent", CaptchaType::Other),
            ("method=image", CaptchaType::Other),
            ("method=", CaptchaType::Other),
            ("googlekey=x", CaptchaType::Other),
        ] {
            assert_eq!(get("/in.php", query).unwrap().captcha_type(), expected, "{query}");
        }
    }

    #[test]
    fn without_a_method_solve_php_means_an_image() {
        assert_eq!(get("/solve.php", "module=x").unwrap().captcha_type(), CaptchaType::Image);
        assert_eq!(get("/solve.php", "method=bls").unwrap().captcha_type(), CaptchaType::Bls);
    }

    #[test]
    fn actions_are_typed_and_ids_checked() {
        let id = |text| TaskId::new(text).unwrap();
        for (query, expected) in [
            ("action=get&id=21", Ok(Action::Get(Ids::One(id("21"))))),
            ("action=get2&id=a-b", Ok(Action::Get2(Ids::One(id("a-b"))))),
            ("action=get&ids=1,2", Ok(Action::Get(Ids::Many(vec![id("1"), id("2")])))),
            ("action=get&ids=1%2C+2&id=", Ok(Action::Get(Ids::Many(vec![id("1"), id("2")])))),
            ("action=get2&ids=7", Ok(Action::Get2(Ids::Many(vec![id("7")])))),
            ("action=getbalance", Ok(Action::GetBalance)),
            ("action=threadsinfo&id=", Ok(Action::ThreadsInfo)),
            ("action=reportgood&id=1", Ok(Action::ReportGood(id("1")))),
            ("action=reportbad&id=1", Ok(Action::ReportBad(id("1")))),
            ("id=1", Err(Malformed::EmptyAction)),
            ("action=&id=1", Err(Malformed::EmptyAction)),
            ("action=getstats", Err(Malformed::UnknownAction)),
            ("action=GET&id=1", Err(Malformed::UnknownAction)),
            ("action=get", Err(Malformed::WrongId)),
            ("action=get&id=", Err(Malformed::WrongId)),
            ("action=get&id=1|2", Err(Malformed::WrongId)),
            ("action=get&id=1%00", Err(Malformed::WrongId)),
            ("action=get&ids=1,,2", Err(Malformed::WrongId)),
            ("action=get&id=1&ids=2", Err(Malformed::IdAndIds)),
            ("action=reportbad&ids=1,2", Err(Malformed::WrongId)),
        ] {
            assert_eq!(get("/res.php", query).unwrap().action(), expected, "{query}");
        }
    }

    #[test]
    fn one_poll_asks_about_a_hundred_tasks_at_most() {
        let ids = |count: usize| format!("action=get&ids={}", vec!["1"; count].join(","));

        assert!(get("/res.php", &ids(100)).unwrap().action().is_ok());
        assert_eq!(get("/res.php", &ids(101)).unwrap().action(), Err(Malformed::TooManyIds));
    }
}
