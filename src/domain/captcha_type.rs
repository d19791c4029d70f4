//! The closed list of captcha types: metric labels, price and SLO keys.

use std::fmt;

/// What kind of captcha a solve is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the provider's own")]
pub enum CaptchaType {
    Image,
    Grid,
    Bls,
    Text,
    Canvas,
    Coordinates,
    RecaptchaV2,
    RecaptchaV2Invisible,
    RecaptchaV2Enterprise,
    RecaptchaV3,
    RecaptchaV3Enterprise,
    Turnstile,
    CloudflareChallenge,
    GeetestV3,
    GeetestV4,
    Captchafox,
    FriendlyCaptcha,
    Lemin,
    Hcaptcha,
    Funcaptcha,
    Audio,
    AmazonWaf,
    MtCaptcha,
    Datadome,
    Keycaptcha,
    /// A method that the list does not know; forwarded all the same.
    Other,
}

impl CaptchaType {
    /// Every type, in the order of the list.
    pub const ALL: [Self; 26] = [
        Self::Image,
        Self::Grid,
        Self::Bls,
        Self::Text,
        Self::Canvas,
        Self::Coordinates,
        Self::RecaptchaV2,
        Self::RecaptchaV2Invisible,
        Self::RecaptchaV2Enterprise,
        Self::RecaptchaV3,
        Self::RecaptchaV3Enterprise,
        Self::Turnstile,
        Self::CloudflareChallenge,
        Self::GeetestV3,
        Self::GeetestV4,
        Self::Captchafox,
        Self::FriendlyCaptcha,
        Self::Lemin,
        Self::Hcaptcha,
        Self::Funcaptcha,
        Self::Audio,
        Self::AmazonWaf,
        Self::MtCaptcha,
        Self::Datadome,
        Self::Keycaptcha,
        Self::Other,
    ];

    /// The name used in config, metrics and bills.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Grid => "grid",
            Self::Bls => "bls",
            Self::Text => "text",
            Self::Canvas => "canvas",
            Self::Coordinates => "coordinates",
            Self::RecaptchaV2 => "recaptcha_v2",
            Self::RecaptchaV2Invisible => "recaptcha_v2_invisible",
            Self::RecaptchaV2Enterprise => "recaptcha_v2_enterprise",
            Self::RecaptchaV3 => "recaptcha_v3",
            Self::RecaptchaV3Enterprise => "recaptcha_v3_enterprise",
            Self::Turnstile => "turnstile",
            Self::CloudflareChallenge => "cloudflare_challenge",
            Self::GeetestV3 => "geetest_v3",
            Self::GeetestV4 => "geetest_v4",
            Self::Captchafox => "captchafox",
            Self::FriendlyCaptcha => "friendly_captcha",
            Self::Lemin => "lemin",
            Self::Hcaptcha => "hcaptcha",
            Self::Funcaptcha => "funcaptcha",
            Self::Audio => "audio",
            Self::AmazonWaf => "amazon_waf",
            Self::MtCaptcha => "mt_captcha",
            Self::Datadome => "datadome",
            Self::Keycaptcha => "keycaptcha",
            Self::Other => "other",
        }
    }

    /// The type of that [`label`](Self::label); `None` for any other text.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|captcha_type| captcha_type.label() == label)
    }

    /// The type whose price, and whose place in `allow_types`, serves for this one when it has none of
    /// its own; a type that is no subtype is its own family.
    pub const fn family(self) -> Self {
        match self {
            Self::RecaptchaV2Invisible | Self::RecaptchaV2Enterprise => Self::RecaptchaV2,
            Self::RecaptchaV3Enterprise => Self::RecaptchaV3,
            Self::Image
            | Self::Grid
            | Self::Bls
            | Self::Text
            | Self::Canvas
            | Self::Coordinates
            | Self::RecaptchaV2
            | Self::RecaptchaV3
            | Self::Turnstile
            | Self::CloudflareChallenge
            | Self::GeetestV3
            | Self::GeetestV4
            | Self::Captchafox
            | Self::FriendlyCaptcha
            | Self::Lemin
            | Self::Hcaptcha
            | Self::Funcaptcha
            | Self::Audio
            | Self::AmazonWaf
            | Self::MtCaptcha
            | Self::Datadome
            | Self::Keycaptcha
            | Self::Other => self,
        }
    }

    /// The place in [`ALL`](Self::ALL), for tables indexed by type.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A set of captcha types.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct CaptchaTypes(u32);

const _: () = assert!(CaptchaType::ALL.len() <= 32, "one bit each");

impl CaptchaTypes {
    /// Whether that type is among them.
    pub const fn contains(self, captcha_type: CaptchaType) -> bool {
        self.0 & (1 << captcha_type.index()) != 0
    }

    /// In the order of [`CaptchaType::ALL`].
    pub fn iter(self) -> impl Iterator<Item = CaptchaType> {
        CaptchaType::ALL.into_iter().filter(move |captcha_type| self.contains(*captcha_type))
    }
}

impl FromIterator<CaptchaType> for CaptchaTypes {
    fn from_iter<T: IntoIterator<Item = CaptchaType>>(types: T) -> Self {
        Self(types.into_iter().fold(0, |set, captcha_type| set | 1 << captcha_type.index()))
    }
}

impl<const N: usize> From<[CaptchaType; N]> for CaptchaTypes {
    fn from(types: [CaptchaType; N]) -> Self {
        types.into_iter().collect()
    }
}

impl fmt::Debug for CaptchaTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_names_its_type_and_no_other() {
        for (index, captcha_type) in CaptchaType::ALL.into_iter().enumerate() {
            assert_eq!(captcha_type.index(), index);
            assert_eq!(CaptchaType::from_label(captcha_type.label()), Some(captcha_type));
        }
        assert_eq!(CaptchaType::from_label("normal"), None);
    }

    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_else() {
        for captcha_type in CaptchaType::ALL {
            let set = CaptchaTypes::from([captcha_type, CaptchaType::Image]);
            for other in CaptchaType::ALL {
                let is_in = other == captcha_type || other == CaptchaType::Image;
                assert_eq!(set.contains(other), is_in, "{captcha_type:?} {other:?}");
            }
        }
        let both = CaptchaTypes::from([CaptchaType::Other, CaptchaType::Image]);
        assert_eq!(format!("{both:?}"), "{Image, Other}");
    }
}
