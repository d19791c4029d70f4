//! What the provider refuses at once: the captcha type a submission is for, and what it lacks.

use super::answer::Answer;
use super::options::Dialect;
use super::request::Form;
use crate::domain::captcha_type::CaptchaType;

const IMAGE_BYTES_MAX: usize = 1024 * 1024;

/// The type of a submission; `None` when its method is no name at all.
pub(super) fn captcha_type(form: &Form<'_>) -> Option<CaptchaType> {
    let method = form.filled("method")?;
    let enterprise = form.is_set("enterprise");
    let captcha_type = match method {
        "userrecaptcha" => match (form.get("version"), enterprise) {
            (Some("v3"), true) => CaptchaType::RecaptchaV3Enterprise,
            (Some("v3"), false) => CaptchaType::RecaptchaV3,
            (_, true) => CaptchaType::RecaptchaV2Enterprise,
            (_, false) if form.is_set("invisible") => CaptchaType::RecaptchaV2Invisible,
            (_, false) => CaptchaType::RecaptchaV2,
        },
        "post" | "base64" => picture_type(form),
        "geetest" if form.get("version") == Some("4") => CaptchaType::GeetestV4,
        "geetest" => CaptchaType::GeetestV3,
        name if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') => {
            return None;
        }
        name => CaptchaType::from_label(name).unwrap_or(CaptchaType::Other),
    };
    Some(captcha_type)
}

fn picture_type(form: &Form<'_>) -> CaptchaType {
    let has = |name| form.get(name).is_some();
    if form.filled("textcaptcha").is_some() {
        CaptchaType::Text
    } else if form.is_set("canvas") {
        CaptchaType::Canvas
    } else if form.is_set("coordinatescaptcha") {
        CaptchaType::Coordinates
    } else if form.is_set("recaptcha")
        || ["img_type", "grid_size", "recaptcharows", "recaptchacols"].into_iter().any(has)
    {
        CaptchaType::Grid
    } else {
        CaptchaType::Image
    }
}

/// `Err` with the refusal when something that the type needs is missing or malformed.
pub(super) fn check(
    form: &Form<'_>,
    captcha_type: CaptchaType,
    dialect: Dialect,
) -> Result<(), Answer> {
    match captcha_type {
        CaptchaType::RecaptchaV2
        | CaptchaType::RecaptchaV2Invisible
        | CaptchaType::RecaptchaV2Enterprise
        | CaptchaType::RecaptchaV3
        | CaptchaType::RecaptchaV3Enterprise => {
            google_key(form)?;
            page(form)?;
        }
        CaptchaType::Turnstile | CaptchaType::FriendlyCaptcha | CaptchaType::Hcaptcha => {
            site_key(form, dialect)?;
            page(form)?;
        }
        CaptchaType::Captchafox => {
            site_key(form, dialect)?;
            page(form)?;
            all(form, &["proxy", "proxytype"])?;
        }
        CaptchaType::CloudflareChallenge => {
            page(form)?;
            all(form, &["proxy", "proxytype"])?;
        }
        CaptchaType::GeetestV3 => {
            all(form, &["gt", "challenge"])?;
            page(form)?;
        }
        CaptchaType::GeetestV4 => {
            let id = form.filled("captcha_id").or_else(|| form.filled("gt"));
            id.ok_or_else(|| code("ERROR_BAD_PARAMETERS"))?;
            page(form)?;
        }
        CaptchaType::Lemin => {
            all(form, &["captcha_id", "div_id"])?;
            page(form)?;
        }
        CaptchaType::Bls => all(form, &["instructions", "image_base64_1"])?,
        CaptchaType::Image | CaptchaType::Canvas | CaptchaType::Coordinates => picture(form)?,
        CaptchaType::Grid => {
            let sizes = form.get("grid_size").into_iter();
            let mut bad_sizes = sizes.filter(|size| !matches!(*size, "3x3" | "4x4"));
            if bad_sizes.next().is_some() {
                return Err(code("ERROR_BAD_PARAMETERS"));
            }
            picture(form)?;
        }
        CaptchaType::Funcaptcha
        | CaptchaType::AmazonWaf
        | CaptchaType::MtCaptcha
        | CaptchaType::Datadome
        | CaptchaType::Keycaptcha => page(form)?,
        CaptchaType::Text | CaptchaType::Audio | CaptchaType::Other => {}
    }
    proxy(form)
}

fn code(code: &'static str) -> Answer {
    Answer::Code(code.into())
}

fn google_key(form: &Form<'_>) -> Result<(), Answer> {
    let key = form.filled("googlekey").ok_or_else(|| code("ERROR_GOOGLEKEY"))?;
    let well_formed = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if well_formed { Ok(()) } else { Err(code("ERROR_WRONG_GOOGLEKEY")) }
}

fn site_key(form: &Form<'_>, dialect: Dialect) -> Result<(), Answer> {
    match (form.filled("sitekey"), dialect) {
        (Some(_), _) => Ok(()),
        (None, Dialect::Captchaai) => Err(code("ERROR_BAD_PARAMETERS")),
        (None, Dialect::TwoCaptcha) => Err(code("ERROR_SITEKEY")),
    }
}

fn page(form: &Form<'_>) -> Result<(), Answer> {
    match form.filled("pageurl") {
        Some(url) if !url.contains(char::is_whitespace) => Ok(()),
        _ => Err(code("ERROR_PAGEURL")),
    }
}

fn all(form: &Form<'_>, names: &[&str]) -> Result<(), Answer> {
    let complete = names.iter().all(|name| form.filled(name).is_some());
    if complete { Ok(()) } else { Err(code("ERROR_BAD_PARAMETERS")) }
}

/// A proxy is `user:pass@host:port` or `host:port`, and its type is required beside it.
fn proxy(form: &Form<'_>) -> Result<(), Answer> {
    let Some(proxy) = form.filled("proxy") else { return Ok(()) };
    if form.filled("proxytype").is_none() {
        return Err(code("ERROR_BAD_PARAMETERS"));
    }
    let host = proxy.rsplit('@').next().unwrap_or_default();
    let well_formed = host
        .rsplit_once(':')
        .is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok());
    if well_formed { Ok(()) } else { Err(code("ERROR_BAD_PROXY")) }
}

fn picture(form: &Form<'_>) -> Result<(), Answer> {
    let bytes = if let Some(file) = form.file("file") {
        file.len()
    } else if let Some(body) = form.get("body") {
        let encoded = body.split_once(";base64,").map_or(body, |(_, encoded)| encoded).trim();
        let is_base64 = |byte: u8| {
            byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte) || byte.is_ascii_whitespace()
        };
        if !encoded.bytes().all(is_base64) {
            return Err(Answer::PlainCode("ERROR_UPLOAD"));
        }
        encoded.len() * 3 / 4
    } else if form.get("method") == Some("post") {
        return Err(Answer::PlainCode("ERROR_UPLOAD"));
    } else {
        0
    };
    match bytes {
        0 => Err(code("ERROR_ZERO_CAPTCHA_FILESIZE")),
        1..=IMAGE_BYTES_MAX => Ok(()),
        _ => Err(code("ERROR_TOO_BIG_CAPTCHA_FILESIZE")),
    }
}
