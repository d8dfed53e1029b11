"""An OpenID provider where every user gives consent. The user is named by the cookie `hub_user`."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from typing import Any
from urllib.parse import parse_qs, urlencode

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse

from tests.hub.accounts import USERS, HubError, hub_id
from tests.hub.authorization import base_url, get_hub

router = APIRouter()
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
AUTHORIZATION_REQUESTS: dict[
    str, dict[str, str]
] = {}  # {authorization code: parameters of its request, and the user}; each is used once
TOKEN_HOURS = 8


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@router.get("/.well-known/openid-configuration")
def openid_configuration(request: Request) -> dict[str, Any]:
    issuer = base_url(request)
    return {"issuer": issuer, "authorization_endpoint": f"{issuer}/oauth/authorize", "token_endpoint": f"{issuer}/oauth/token",
            "userinfo_endpoint": f"{issuer}/oauth/userinfo", "jwks_uri": f"{issuer}/oauth/jwks", "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["code"], "subject_types_supported": ["public"], "code_challenge_methods_supported": ["S256"]}  # fmt: skip


@router.get("/oauth/jwks")
def public_keys() -> dict[str, Any]:
    public_numbers = KEY.public_key().public_numbers()
    n, e = (
        base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))
        for number in (public_numbers.n, public_numbers.e)
    )
    return {"keys": [{"kty": "RSA", "kid": "1", "use": "sig", "alg": "RS256", "n": n, "e": e}]}


@router.get("/oauth/authorize")
def authorize(request: Request) -> RedirectResponse:
    parameters = dict(request.query_params)
    code = secrets.token_hex(12)
    AUTHORIZATION_REQUESTS[code] = parameters | {"person": request.cookies.get("hub_user", "alice")}
    separator = "&" if "?" in parameters["redirect_uri"] else "?"
    return RedirectResponse(
        parameters["redirect_uri"] + separator + urlencode({"code": code, "state": parameters["state"]}), 302
    )


@router.post("/oauth/token")
async def exchange_code(request: Request) -> dict[str, Any]:
    token_request = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
    authorization_request = AUTHORIZATION_REQUESTS.pop(token_request.get("code", ""), None)
    if (
        authorization_request is None
        or authorization_request["redirect_uri"] != token_request.get("redirect_uri")
        or not has_valid_code_verifier(authorization_request, token_request)
    ):
        raise HubError(400, "invalid_grant")
    scope = authorization_request.get("scope", "")
    role = "write" if "write-repos" in scope or "contribute-repos" in scope else "read"
    access_token = get_hub(request).accounts.issue(authorization_request["person"], role)
    claims = user_info(authorization_request["person"]) | {"iss": base_url(request), "aud": authorization_request["client_id"], "iat": int(time.time()),
                                             "exp": int(time.time()) + TOKEN_HOURS * 3600, "nonce": authorization_request.get("nonce")}  # fmt: skip
    return {"access_token": access_token, "token_type": "bearer", "expires_in": TOKEN_HOURS * 3600, "scope": scope, "id_token": sign_jwt(claims)}  # fmt: skip


def has_valid_code_verifier(authorization_request: dict[str, str], token_request: dict[str, str]) -> bool:
    """Checks PKCE (RFC 7636): the code verifier must have the hash that the authorization request named as challenge."""
    if "code_challenge" not in authorization_request:
        return True
    return (
        base64url(hashlib.sha256(token_request.get("code_verifier", "").encode()).digest())
        == authorization_request["code_challenge"]
    )


def sign_jwt(claims: dict[str, Any]) -> str:
    parts = [{"alg": "RS256", "typ": "JWT", "kid": "1"}, claims]
    message = ".".join(base64url(json.dumps(part).encode()) for part in parts)
    return f"{message}.{base64url(KEY.sign(message.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def user_info(user: str) -> dict[str, Any]:
    orgs = [{"sub": hub_id(name), "name": name.title(), "preferred_username": name, "picture": "", "roleInOrg": role}
            for name, role in USERS[user].items()]  # fmt: skip
    return {"sub": hub_id(user), "name": user.title(), "preferred_username": user, "profile": f"http://hub.local/{user}",
            "picture": "", "isPro": False, "orgs": orgs}  # fmt: skip


@router.get("/oauth/userinfo")
def user_info_response(request: Request) -> dict[str, Any]:
    return user_info(get_hub(request).accounts.require_token(request).user)
