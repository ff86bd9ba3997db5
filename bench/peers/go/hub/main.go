// A hub as KubeEdge's viaduct builds it: net/http, gorilla/websocket, client certificates required and verified,
// a loop that reads JSON, pings. The least a Go hub needs, and so the strongest peer: no limits, no metrics, no history.
// hub CERT KEY CA prints its port.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// The message of KubeEdge's beehive (pkg/core/model/message.go).
type message struct {
	Header  header          `json:"header"`
	Router  route           `json:"route,omitempty"`
	Content json.RawMessage `json:"content"`
}
type header struct {
	ID        string `json:"msg_id"`
	ParentID  string `json:"parent_msg_id,omitempty"`
	Timestamp int64  `json:"timestamp"`
	Sync      bool   `json:"sync,omitempty"`
}
type route struct {
	Source    string `json:"source,omitempty"`
	Group     string `json:"group,omitempty"`
	Operation string `json:"operation,omitempty"`
	Resource  string `json:"resource,omitempty"`
}

type session struct {
	conn    *websocket.Conn
	writing sync.Mutex
	waiting sync.Map // id of a message sent → channel of its answer
}

func (s *session) send(m *message) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.conn.WriteJSON(m)
}

func (s *session) read(node string) {
	defer s.conn.Close()
	for {
		var m message
		if s.conn.ReadJSON(&m) != nil {
			sessions.CompareAndDelete(node, s)
			return
		}
		if answered, is := s.waiting.LoadAndDelete(m.Header.ParentID); is {
			answered.(chan struct{}) <- struct{}{}
		}
		if m.Header.Sync {
			s.send(&message{Header: header{ID: "x", ParentID: m.Header.ID, Timestamp: time.Now().UnixMilli()}, Content: []byte(`"OK"`)})
		}
	}
}

var sessions sync.Map // node → *session
var upgrader = websocket.Upgrader{}

// /<project_id>/<node>/events; the node has to be the one of the certificate.
func events(w http.ResponseWriter, r *http.Request) {
	node := strings.TrimPrefix(r.TLS.PeerCertificates[0].Subject.CommonName, "system:node:")
	if r.PathValue("node") != node || r.Header.Get("node_id") != node {
		http.Error(w, "the certificate is of another node", http.StatusForbidden)
		return
	}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	conn.SetReadLimit(16 << 20)
	s := &session{conn: conn}
	sessions.Store(node, s)
	go s.read(node)
}

// Sends the body to the node and answers when the node has acknowledged it.
func send(w http.ResponseWriter, r *http.Request) {
	var m message
	found, is := sessions.Load(r.PathValue("node"))
	if !is || json.NewDecoder(r.Body).Decode(&m) != nil {
		http.Error(w, "no such node, or no message", http.StatusBadRequest)
		return
	}
	m.Header.Timestamp = time.Now().UnixMilli()
	answered := make(chan struct{}, 1)
	s := found.(*session)
	s.waiting.Store(m.Header.ID, answered)
	if s.send(&m) == nil {
		<-answered
	}
	fmt.Fprintln(w, `{"status":"acknowledged"}`)
}

func ping() {
	for range time.Tick(30 * time.Second) {
		sessions.Range(func(_, s any) bool {
			s.(*session).conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second))
			return true
		})
	}
}

func main() {
	certificate, err := tls.LoadX509KeyPair(os.Args[1], os.Args[2])
	must(err)
	pem, err := os.ReadFile(os.Args[3])
	must(err)
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(pem)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	http.HandleFunc("POST /nodes/{node}/messages", send)
	http.HandleFunc("GET /{project}/{node}/events", events)
	go ping()
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	server := http.Server{TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{certificate}, ClientCAs: trusted, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS12,
	}}
	must(server.ServeTLS(listener, "", ""))
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
