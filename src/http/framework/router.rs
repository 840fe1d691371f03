//! From a path to an endpoint: a tree of segments, built once from the table of endpoints.

use crate::http::framework::endpoint::Endpoint;
use std::collections::HashMap;
use std::sync::Arc;
use warp::http::Method;

/// The names and values of a path's parameters.
pub type Params = Vec<(&'static str, String)>;

/// Result of matching a path.
pub enum RouteMatch<'a> {
    /// An endpoint.
    Endpoint(&'a Arc<Endpoint>, Params),
    /// A path that knows other methods.
    MethodNotAllowed(&'a [Arc<Endpoint>]),
    /// Nothing.
    NotFound,
}

/// The tree.
#[derive(Default)]
pub struct Router {
    root: Node,
}

#[derive(Default)]
struct Node {
    fixed: HashMap<&'static str, Node>,
    parameter: Option<(&'static str, Box<Node>)>,
    /// A parameter that takes all that is left of a path.
    rest: Option<(&'static str, Box<Node>)>,
    endpoints: Vec<Arc<Endpoint>>,
}

impl Router {
    /// The tree of these endpoints.
    pub fn new(endpoints: &[Arc<Endpoint>]) -> Self {
        let mut router = Self::default();
        for endpoint in endpoints {
            let mut node = &mut router.root;
            for segment in segments(endpoint.path) {
                node = match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                    Some(name) if name.starts_with('*') => {
                        let name = name.trim_start_matches('*');
                        &mut node.rest.get_or_insert_with(|| (name, Box::default())).1
                    }
                    Some(name) => &mut node.parameter.get_or_insert_with(|| (name, Box::default())).1,
                    None => node.fixed.entry(segment).or_default(),
                };
            }
            node.endpoints.push(Arc::clone(endpoint));
        }
        router
    }

    /// Finds the endpoint of a method and a raw (still escaped) path. `HEAD` matches `GET`.
    pub fn find(&self, method: &Method, path: &str) -> RouteMatch<'_> {
        let mut values = Vec::new();
        let Some(node) = self.root.walk(segments(path), &mut values) else { return RouteMatch::NotFound };
        let wanted = if *method == Method::HEAD { &Method::GET } else { method };
        match node.endpoints.iter().find(|endpoint| endpoint.method == *wanted) {
            Some(endpoint) => RouteMatch::Endpoint(endpoint, values),
            None => RouteMatch::MethodNotAllowed(&node.endpoints),
        }
    }
}

impl Node {
    /// Follows the segments; a fixed name is preferred to a parameter, and given up when it leads nowhere.
    fn walk<'p>(
        &self,
        mut rest: impl Iterator<Item = &'p str> + Clone,
        values: &mut Params,
    ) -> Option<&Self> {
        let Some(segment) = rest.next() else {
            return (!self.endpoints.is_empty()).then_some(self);
        };
        if let Some(node) = self.fixed.get(segment)
            && let Some(found) = node.walk(rest.clone(), values)
        {
            return Some(found);
        }
        if let Some((name, node)) = &self.parameter
            && let Some(value) = decode(segment).filter(|value| !value.is_empty())
        {
            values.push((name, value));
            if let Some(found) = node.walk(rest.clone(), values) {
                return Some(found);
            }
            values.pop();
        }
        let (name, node) = self.rest.as_ref()?;
        let decoded: Vec<String> = std::iter::once(segment).chain(rest).map(decode).collect::<Option<_>>()?;
        let value = Some(decoded.join("/")).filter(|value| !value.is_empty())?;
        values.push((name, value));
        Some(node)
    }
}

fn segments(path: &str) -> std::str::Split<'_, char> {
    let mut segments = path.split('/');
    // What is before the leading slash.
    segments.next();
    segments
}

/// Resolves `%41` and the like; `None` when that gives no text.
fn decode(segment: &str) -> Option<String> {
    if !segment.contains('%') {
        return Some(segment.to_owned());
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let value = digit(rest.next())? * 16 + digit(rest.next())?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{ApiRequest, Reply};

    async fn nothing(_: ApiRequest) -> Result<Reply, crate::http::ApiError> {
        Ok(Reply::no_content())
    }

    fn router() -> Router {
        let endpoint = |method, path| Arc::new(Endpoint::new(method, path, nothing));
        Router::new(&[
            endpoint(Method::GET, "/"),
            endpoint(Method::GET, "/beads"),
            endpoint(Method::POST, "/beads"),
            endpoint(Method::GET, "/beads/ready"),
            endpoint(Method::GET, "/beads/{id}"),
            endpoint(Method::PATCH, "/beads/{id}"),
            endpoint(Method::DELETE, "/beads/{id}/dependencies/{depends_on}"),
        ])
    }

    fn found(method: Method, path: &str) -> Option<(&'static str, Params)> {
        match router().find(&method, path) {
            RouteMatch::Endpoint(endpoint, params) => Some((endpoint.path, params)),
            _ => None,
        }
    }

    #[test]
    fn paths_match_endpoints_with_parameters() {
        assert_eq!(found(Method::GET, "/"), Some(("/", vec![])));
        assert_eq!(found(Method::GET, "/beads"), Some(("/beads", vec![])));
        assert_eq!(found(Method::HEAD, "/beads/ready"), Some(("/beads/ready", vec![])));
        assert_eq!(found(Method::GET, "/beads/bd-1"), Some(("/beads/{id}", vec![("id", "bd-1".into())])));
        assert_eq!(
            found(Method::DELETE, "/beads/a%2Fb/dependencies/%C3%A9"),
            Some((
                "/beads/{id}/dependencies/{depends_on}",
                vec![("id", "a/b".into()), ("depends_on", "é".into())]
            ))
        );
    }

    #[test]
    fn bead_id_equal_to_route_name_matches_below_it() {
        let below = found(Method::DELETE, "/beads/ready/dependencies/x").unwrap();
        assert_eq!(below.1[0], ("id", "ready".to_owned()));
    }

    #[test]
    fn unknown_path_is_not_found_known_path_lists_methods() {
        for path in ["/bead", "/beads/", "/beads//x", "//beads", "/beads/a/b", "/beads/%zz", "/beads/%ff", ""]
        {
            assert!(found(Method::GET, path).is_none(), "{path}");
        }
        let router = router();
        let RouteMatch::MethodNotAllowed(others) = router.find(&Method::PUT, "/beads/x") else {
            panic!("the path is known")
        };
        let methods: Vec<&Method> = others.iter().map(|endpoint| &endpoint.method).collect();
        assert_eq!(methods, [Method::GET, Method::PATCH]);
    }
}
