// A REST service of net/http, pgx and golang-jwt.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/golang-jwt/jwt"
	"github.com/jackc/pgx/v4/pgxpool"
)

const live = `s.revoked_at IS NULL AND s.expires_at > now() AND (s.idle_timeout IS NULL
	OR s.last_active_at + s.idle_timeout + s.activity_resolution > now())`

const check = `SELECT u.id::text, u.username
	FROM user_sessions s JOIN users u ON u.id = s.user_id
	WHERE s.user_id = $1 AND s.id = $2 AND u.disabled_at IS NULL AND ` + live

const list = `SELECT s.id::text, s.label, s.created_at, s.last_active_at, s.expires_at
	FROM user_sessions s WHERE s.user_id = $1 AND ` + live + `
	ORDER BY s.id = $2 DESC, s.last_active_at DESC, s.id DESC`

const create = `WITH name AS (
		INSERT INTO usernames (username_key, user_id) VALUES ($3, $1)
	), person AS (
		INSERT INTO users (id, username, is_guest) VALUES ($1, $3, true)
	), begun AS (
		INSERT INTO user_sessions (user_id, id, label, expires_at, idle_timeout,
			idle_timeout_once_used, activity_resolution, user_agent, ip_address)
		VALUES ($1, $2, $4, now() + interval '720 h', interval '24 h', interval '336 h',
			interval '60 s', $5, $6::text::inet)
		RETURNING label, created_at, expires_at
	), event AS (
		INSERT INTO session_events (user_id, id, session_id, kind, actor, actor_user_id,
			actor_session_id, ip_address)
		VALUES ($1, $7, $2, 'CREATED', 'USER', $1, $2, $6::text::inet)
	) SELECT * FROM begun`

const revoke = `WITH ended AS (
		UPDATE user_sessions s
		SET revoked_at = now(), revoked_reason = 'REVOKED_BY_USER', revoked_by = $3
		WHERE s.user_id = $1 AND s.id = $2 AND ` + live + ` RETURNING s.user_id, s.id
	) INSERT INTO session_events (user_id, id, session_id, kind, actor, actor_user_id,
		actor_session_id, reason, ip_address)
	SELECT user_id, $4, id, 'REVOKED', 'USER', $1, $3, 'REVOKED_BY_USER', $5::text::inet
	FROM ended`

var (
	pool     *pgxpool.Pool
	secret   = []byte(os.Getenv("JWT_SECRET"))
	issuer   = os.Getenv("JWT_ISSUER")
	audience = os.Getenv("JWT_AUDIENCE")
	parser   = jwt.Parser{ValidMethods: []string{"HS256"}}
)

type claims struct {
	jwt.StandardClaims
	SessionID string `json:"sid"`
	ClientID  string `json:"client_id"`
}

type viewer struct {
	ID        string `json:"id"`
	Username  string `json:"username"`
	sessionID string
}

type session struct {
	ID           string    `json:"id"`
	Label        string    `json:"label"`
	Status       string    `json:"status"`
	IsCurrent    bool      `json:"isCurrent"`
	CreatedAt    time.Time `json:"createdAt"`
	LastActiveAt time.Time `json:"lastActiveAt"`
	ExpiresAt    time.Time `json:"expiresAt"`
}

var errUnauthenticated = errors.New("unauthenticated")

func keyOf(token *jwt.Token) (interface{}, error) {
	if token.Header["typ"] != "at+jwt" {
		return nil, errUnauthenticated
	}
	return secret, nil
}

func authenticate(r *http.Request) (viewer, error) {
	found, said := viewer{}, claims{}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if _, err := parser.ParseWithClaims(token, &said, keyOf); err != nil {
		return found, errUnauthenticated
	}
	if !said.VerifyIssuer(issuer, true) || !said.VerifyAudience(audience, true) {
		return found, errUnauthenticated
	}
	row := pool.QueryRow(r.Context(), check, said.Subject, said.SessionID)
	if err := row.Scan(&found.ID, &found.Username); err != nil {
		return found, errUnauthenticated
	}
	found.sessionID = said.SessionID
	return found, nil
}

func answer(w http.ResponseWriter, status int, body interface{}) {
	text, err := json.Marshal(body)
	if err != nil {
		http.Error(w, "failed", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(text)
}

func me(w http.ResponseWriter, r *http.Request) {
	caller, err := authenticate(r)
	if err != nil {
		answer(w, http.StatusUnauthorized, "unauthenticated")
		return
	}
	answer(w, http.StatusOK, caller)
}

func sessions(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		begin(w, r)
		return
	}
	caller, err := authenticate(r)
	if err != nil {
		answer(w, http.StatusUnauthorized, "unauthenticated")
		return
	}
	rows, err := pool.Query(r.Context(), list, caller.ID, caller.sessionID)
	if err != nil {
		answer(w, http.StatusInternalServerError, "failed")
		return
	}
	defer rows.Close()
	found := []session{}
	for rows.Next() {
		s := session{Status: "ACTIVE"}
		if err := rows.Scan(&s.ID, &s.Label, &s.CreatedAt, &s.LastActiveAt, &s.ExpiresAt); err != nil {
			answer(w, http.StatusInternalServerError, "failed")
			return
		}
		s.IsCurrent = s.ID == caller.sessionID
		found = append(found, s)
	}
	answer(w, http.StatusOK, found)
}

func address(r *http.Request) string {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	return host
}

func uuid7() string {
	var id [16]byte
	rand.Read(id[6:])
	for i, ms := 5, time.Now().UnixMilli(); i >= 0; i, ms = i-1, ms>>8 {
		id[i] = byte(ms)
	}
	id[6], id[8] = id[6]&0x0f|0x70, id[8]&0x3f|0x80
	text := hex.EncodeToString(id[:])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}

func begin(w http.ResponseWriter, r *http.Request) {
	userID, sessionID := uuid7(), uuid7()
	name := "guest-" + uuid7()[24:]
	var label string
	var created, expires time.Time
	row := pool.QueryRow(r.Context(), create, userID, sessionID, name, "new device",
		r.UserAgent(), address(r), uuid7())
	if err := row.Scan(&label, &created, &expires); err != nil {
		answer(w, http.StatusInternalServerError, "failed")
		return
	}
	token, err := mint(userID, sessionID, created, expires)
	if err != nil {
		answer(w, http.StatusInternalServerError, "failed")
		return
	}
	answer(w, http.StatusCreated, map[string]interface{}{
		"token":     token,
		"expiresAt": expires,
		"session":   map[string]string{"id": sessionID, "label": label},
	})
}

func mint(userID, sessionID string, created, expires time.Time) (string, error) {
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		StandardClaims: jwt.StandardClaims{
			Issuer:    issuer,
			Audience:  audience,
			Subject:   userID,
			Id:        uuid7(),
			IssuedAt:  created.Unix(),
			NotBefore: created.Unix(),
			ExpiresAt: expires.Unix(),
		},
		SessionID: sessionID,
		ClientID:  os.Getenv("JWT_CLIENT_ID"),
	})
	token.Header["typ"], token.Header["kid"] = "at+jwt", os.Getenv("JWT_KID")
	return token.SignedString(secret)
}

func end(w http.ResponseWriter, r *http.Request) {
	caller, err := authenticate(r)
	if err != nil || r.Method != http.MethodDelete {
		answer(w, http.StatusUnauthorized, "unauthenticated")
		return
	}
	id := strings.TrimPrefix(r.URL.Path, "/sessions/")
	done, err := pool.Exec(r.Context(), revoke, caller.ID, id, caller.sessionID, uuid7(), address(r))
	if err != nil {
		answer(w, http.StatusInternalServerError, "failed")
		return
	}
	status := "NOT_FOUND"
	if done.RowsAffected() == 1 {
		status = "REVOKED"
	}
	answer(w, http.StatusOK, map[string]string{"status": status})
}

func main() {
	config, err := pgxpool.ParseConfig("") // the PG* variables say where
	if err != nil {
		log.Fatal(err)
	}
	config.MaxConns = 10
	if pool, err = pgxpool.ConnectConfig(context.Background(), config); err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/me", me)
	http.HandleFunc("/sessions", sessions)
	http.HandleFunc("/sessions/", end)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
