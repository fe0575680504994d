//! Requests: redirects, attempts, and a token that goes to one host.

use std::io::Read;
use std::thread::sleep;
use std::time::Duration;

use ureq::Agent;

use crate::{Error, Name, Result, Settings};

/// An HTTP client for one hub.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    settings: Settings,
}

/// Most redirects of a request.
const MAX_REDIRECTS: u32 = 10;

/// An answer with its body still to be read.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// First byte of the body in the file, and the file's length, where the answer says so.
    pub(crate) range: Option<(u64, u64)>,
    pub(crate) body: Box<dyn Read>,
}

/// Outcome of one attempt.
enum Attempt {
    Answered(Answer),
    /// Worth another one, after this time.
    Again(String, Option<Duration>),
}

impl Client {
    pub(crate) fn new(settings: &Settings) -> Self {
        let config = Agent::config_builder()
            // Redirects are followed here, where the token can stay behind.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_connect(Some(settings.silence))
            .timeout_recv_response(Some(settings.silence))
            .timeout_per_read(Some(settings.silence))
            .user_agent(concat!("quantsmith/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: config.into(),
            settings: settings.clone(),
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Text of an address, of at most `limit` bytes.
    pub(crate) fn text(&self, name: &Name, url: &str, what: &str, limit: u64) -> Result<Vec<u8>> {
        self.attempt(name, |this| {
            let answer = match this.once(name, url, what, None)? {
                Attempt::Answered(answer) => answer,
                Attempt::Again(why, pause) => return Ok(Err((why, pause))),
            };
            let mut text = Vec::new();
            match answer.body.take(limit + 1).read_to_end(&mut text) {
                Err(e) => Ok(Err((e.to_string(), None))),
                Ok(_) if text.len() as u64 > limit => Err(Error::Answer {
                    name: name.to_string(),
                    url: url.to_owned(),
                    found: format!("more than {limit} bytes"),
                    expected: what.to_owned(),
                }),
                Ok(_) => Ok(Ok(text)),
            }
        })
    }

    /// Does `work` until it succeeds, fails for good, or has failed too often. An inner error is one that another
    /// attempt may cure, with the time that the hub asks for.
    pub(crate) fn attempt<T>(
        &self,
        name: &Name,
        mut work: impl FnMut(&Self) -> Result<std::result::Result<T, (String, Option<Duration>)>>,
    ) -> Result<T> {
        let mut pause = self.settings.pause;
        let mut left = self.settings.attempts.max(1);
        loop {
            let (why, asked) = match work(self)? {
                Ok(done) => return Ok(done),
                Err(again) => again,
            };
            left -= 1;
            if let Some(asked) = asked.filter(|&asked| asked > self.settings.patience || left == 0) {
                return Err(Error::Busy {
                    name: name.to_string(),
                    seconds: asked.as_secs(),
                });
            }
            if left == 0 {
                return Err(self.unreachable(name, why));
            }
            tracing::info!("{name}: {why}; trying again");
            sleep(asked.unwrap_or(pause));
            pause = pause.saturating_mul(2);
        }
    }

    pub(crate) fn unreachable(&self, name: &Name, why: String) -> Error {
        Error::Unreachable {
            name: name.to_string(),
            endpoint: self.settings.endpoint.clone(),
            why,
        }
    }

    /// Bytes of a file from `start` on, to `end` where it is given: one attempt.
    pub(crate) fn range(
        &self,
        name: &Name,
        url: &str,
        what: &str,
        (start, end): (u64, Option<u64>),
    ) -> Result<std::result::Result<Answer, (String, Option<Duration>)>> {
        let end = end.map_or(String::new(), |end| end.saturating_sub(1).to_string());
        let range = format!("bytes={start}-{end}");
        Ok(match self.once(name, url, what, Some(&range))? {
            Attempt::Answered(answer) => Ok(answer),
            Attempt::Again(why, pause) => Err((why, pause)),
        })
    }

    fn once(&self, name: &Name, url: &str, what: &str, range: Option<&str>) -> Result<Attempt> {
        let mut at = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let response = match self.request(&at, range) {
                Ok(response) => response,
                Err(ureq::Error::BadUri(e)) => return Err(wrong(name, &at, e, "an address")),
                Err(e) => return Ok(Attempt::Again(e.to_string(), None)),
            };
            match response.status().as_u16() {
                301 | 302 | 303 | 307 | 308 => at = redirected(name, &at, &response)?,
                _ => return self.answer(name, &at, what, response),
            }
        }
        let found = format!("more than {MAX_REDIRECTS} redirects");
        Err(wrong(name, url, found, what))
    }

    /// Asks one address; the token goes to the hub's own alone.
    fn request(&self, at: &str, range: Option<&str>) -> std::result::Result<Response, ureq::Error> {
        let mut request = self.agent.get(at).header("accept-encoding", "identity");
        let own = origin(at) == origin(&self.settings.endpoint);
        if let Some(token) = self.settings.token.as_ref().filter(|_| own) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(range) = range {
            request = request.header("range", range);
        }
        request.call()
    }

    /// Meaning of an answer that is no redirect.
    fn answer(&self, name: &Name, at: &str, what: &str, response: Response) -> Result<Attempt> {
        let status = response.status().as_u16();
        match status {
            200 | 206 => Ok(Attempt::Answered(Answer {
                status,
                range: sent_range(name, at, &response)?,
                body: Box::new(response.into_body().into_with_config().limit(u64::MAX).reader()),
            })),
            // Nothing past the end.
            416 => Ok(Attempt::Answered(Answer {
                status,
                range: header(&response, "content-range").and_then(|text| {
                    let length = text.rsplit_once('/')?.1.parse().ok()?;
                    Some((length, length))
                }),
                body: Box::new(std::io::empty()),
            })),
            401 | 403 => Err(Error::Refused {
                name: name.to_string(),
                status,
                token: self.settings.token.is_some(),
            }),
            404 => Err(Error::Missing {
                name: name.to_string(),
                what: what.to_owned(),
                endpoint: self.settings.endpoint.clone(),
            }),
            429 | 503 => {
                let asked = header(&response, "retry-after")
                    .and_then(|s| s.trim().parse().ok())
                    .map(Duration::from_secs);
                Ok(Attempt::Again(format!("the hub is busy ({status})"), asked))
            }
            408 | 500..=599 => Ok(Attempt::Again(format!("status {status}"), None)),
            _ => Err(wrong(name, at, format!("status {status}"), what)),
        }
    }
}

type Response = ureq::http::Response<ureq::Body>;

fn header<'r>(response: &'r Response, key: &str) -> Option<&'r str> {
    response.headers().get(key).and_then(|v| v.to_str().ok())
}

fn wrong(name: &Name, url: &str, found: String, expected: &str) -> Error {
    Error::Answer {
        name: name.to_string(),
        url: url.to_owned(),
        found,
        expected: expected.to_owned(),
    }
}

/// Where a redirect leads.
fn redirected(name: &Name, at: &str, response: &Response) -> Result<String> {
    let Some(to) = header(response, "location") else {
        return Err(wrong(name, at, "a redirect to nowhere".into(), "an address"));
    };
    joined(at, to).ok_or_else(|| {
        let found = format!("a redirect to {to:?}");
        wrong(name, at, found, "an address of http")
    })
}

/// First byte and length of what was sent, where the answer tells.
fn sent_range(name: &Name, at: &str, response: &Response) -> Result<Option<(u64, u64)>> {
    const EXPECTED: &str = "bytes A-B/LENGTH";
    if response.status().as_u16() != 206 {
        let length = header(response, "content-length").and_then(|n| n.parse().ok());
        return Ok(length.map(|length| (0, length)));
    }
    let Some(text) = header(response, "content-range") else {
        let found = "a part without content-range".into();
        return Err(wrong(name, at, found, EXPECTED));
    };
    match content_range(text) {
        Some(range) => Ok(Some(range)),
        None => Err(wrong(name, at, format!("content-range {text:?}"), EXPECTED)),
    }
}

/// Scheme, host and port of an address.
fn origin(url: &str) -> Option<&str> {
    let rest = url.find("://")? + 3;
    let end = url[rest..].find(['/', '?', '#']).map_or(url.len(), |n| rest + n);
    Some(&url[..end])
}

/// Where a redirect leads.
fn joined(from: &str, to: &str) -> Option<String> {
    if to.starts_with("http://") || to.starts_with("https://") {
        // Nothing that was asked for in secret is fetched in the open.
        return (!from.starts_with("https://") || to.starts_with("https://")).then(|| to.to_owned());
    }
    let origin = origin(from)?;
    to.starts_with('/').then(|| format!("{origin}{to}"))
}

/// First byte and length of `bytes A-B/LENGTH`.
fn content_range(text: &str) -> Option<(u64, u64)> {
    let (range, length) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end, length): (u64, u64, u64) =
        (start.parse().ok()?, end.parse().ok()?, length.parse().ok()?);
    (start <= end && end < length).then_some((start, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(origin("http://a:80/b"), Some("http://a:80"));
        assert_eq!(origin("https://a"), Some("https://a"));
        assert_eq!(joined("http://a/b", "/c?d").as_deref(), Some("http://a/c?d"));
        assert_eq!(
            joined("https://a/b", "https://c/d").as_deref(),
            Some("https://c/d")
        );
        assert_eq!(joined("https://a/b", "http://c/d"), None);
        assert_eq!(joined("http://a/b", "file:///etc"), None);
        assert_eq!(content_range("bytes 0-0/12"), Some((0, 12)));
        for wrong in [
            "bytes 5-2/12",
            "bytes 0-12/12",
            "bytes */12",
            "0-1/2",
            "bytes 0-1/x",
        ] {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
    }
}
