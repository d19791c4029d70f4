//! The made-up answer to a captcha: unique to its task, recognisable, the same at every poll.

#![expect(clippy::wildcard_enum_match_arm, reason = "a few variants differ, the rest is alike")]

use std::sync::Arc;

use serde_json::{Value, json};

use super::options::Dialect;
use crate::domain::captcha_type::CaptchaType;

const USER_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/142.0.0.0 Safari/537.36";

/// The answer to one task, in every form that it can be asked for.
#[derive(Debug, Clone)]
pub(super) struct Solution {
    pub(super) id: u64,
    pub(super) captcha_type: CaptchaType,
    pub(super) seed: u64,
    /// What the submission wished for; else made up.
    pub(super) chosen: Option<Arc<str>>,
}

impl Solution {
    /// The answer to the task before this one.
    pub(super) fn of_another(&self) -> Self {
        Self { id: self.id - 1, chosen: None, ..self.clone() }
    }

    /// As it stands behind `OK|`.
    pub(super) fn text(&self) -> String {
        if let Some(chosen) = &self.chosen {
            return chosen.to_string();
        }
        match self.captcha_type {
            CaptchaType::GeetestV3 => format!(
                "challenge:{},validate:{:016x},seccode:{1:016x}|jordan",
                self.token(),
                self.tag()
            ),
            CaptchaType::GeetestV4 | CaptchaType::Lemin => self.fields().to_string(),
            CaptchaType::Grid | CaptchaType::Bls => self.cells(),
            _ => self.token(),
        }
    }

    /// The fields of a successful JSON answer, beside `status`.
    pub(super) fn write_json(&self, dialect: Dialect, out: &mut String) {
        let (in_result, with_user_agent) = match (self.captcha_type, dialect) {
            (
                CaptchaType::RecaptchaV2Enterprise
                | CaptchaType::RecaptchaV3Enterprise
                | CaptchaType::CloudflareChallenge,
                Dialect::Captchaai,
            ) => (true, true),
            (CaptchaType::Captchafox, _) => (false, true),
            _ => (false, false),
        };
        out.push_str(if in_result { r#""result":"# } else { r#""request":"# });
        out.push_str(&self.json_value().to_string());
        if with_user_agent {
            out.push_str(r#","user_agent":""#);
            out.push_str(USER_AGENT);
            out.push('"');
        }
    }

    fn json_value(&self) -> Value {
        if let Some(chosen) = &self.chosen {
            return json!(chosen.as_ref());
        }
        match self.captcha_type {
            CaptchaType::GeetestV3 | CaptchaType::Lemin => json!(self.fields().to_string()),
            CaptchaType::GeetestV4 => self.fields(),
            CaptchaType::Grid | CaptchaType::Bls => json!(self.cells()),
            _ => json!(self.token()),
        }
    }

    fn fields(&self) -> Value {
        let tag = format!("{:016x}", self.tag());
        if self.captcha_type == CaptchaType::Lemin {
            return json!({ "answer": self.token(), "challenge_uuid": tag });
        }
        if self.captcha_type == CaptchaType::GeetestV4 {
            return json!({
                "captcha_id": tag,
                "lot_number": self.token(),
                "pass_token": tag,
                "gen_time": "1764000000",
                "captcha_output": tag,
            });
        }
        let seccode = format!("{tag}|jordan");
        json!({ "challenge": self.token(), "validate": tag, "seccode": seccode })
    }

    fn token(&self) -> String {
        match self.captcha_type {
            CaptchaType::Image | CaptchaType::Text => format!("answer-{}", self.id),
            other => format!("answer-{}-{}-{:016x}", self.id, other.label(), self.tag()),
        }
    }

    /// Some of nine cells, as `[1,4,7]`: the one kind of answer that two tasks may share.
    fn cells(&self) -> String {
        let bits = self.tag() | (1 << (self.tag() % 9));
        let chosen: Vec<u8> =
            (0..9).filter(|bit| (bits >> bit) & 1 == 1).map(|bit| bit + 1).collect();
        json!(chosen).to_string()
    }

    /// Bits that look random and depend on the seed and the task alone (splitmix64).
    fn tag(&self) -> u64 {
        let mut bits = self.seed.rotate_left(32) ^ self.id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}
