// Connects as edges do and tells what that costs the server: CPU of its process from /proc, or its resident memory.
// Edges are minted from the CA, so that a node can be new. Every handshake is a full one, in the one group that is asked for.
package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

const (
	project  = "e632aba927ea4ac2b575ec1603d56f10"
	parallel = 8
	// Clock ticks a second of /proc; 100 on every Linux.
	ticks = 100
	// What a server does behind an answer (history, metrics, the end of a socket) belongs to it too.
	settle = time.Second
	// A fleet that comes back does not wait for one another.
	herd   = 64
	status = `{"header":{"msg_id":"%08d-0000-4000-8000-000000000000","timestamp":1795466360546%s},` +
		`"route":{"source":"edged","group":"resource","operation":"%s","resource":"default/podstatus/pod-1"},"content":"%s"}`
)

var (
	pid    = flag.Int("pid", 0, "process of the server")
	port   = flag.Int("port", 0, "its port for edges")
	api    = flag.String("api", "", "where a message for a node is posted; NODE stands for its name")
	admin  = flag.String("admin", "", "file with certificate and key of whoever posts, PEM")
	body   = flag.String("body", "{}", "what is posted; ID stands for the id of the message")
	ca     = flag.String("ca", "", "file with the certificate of the CA and its key, PEM")
	group  = flag.String("group", "X25519", "X25519 or X25519MLKEM768")
	to     = flag.Int("to", 0, "port of the server they return to")
	asked  = flag.String("asked", "", "return: what the header of the first message has besides, JSON with a comma before it")
	what   = flag.String("what", "connect", "connect, message, down, idle or return")
	nodes  = flag.Int("nodes", 1000, "how many nodes")
	count  = flag.Int("count", 100_000, "how many messages")
	prefix = flag.String("prefix", "edge", "of the names of nodes; new names are new nodes")
	groups = map[string]tls.CurveID{"X25519": tls.X25519, "X25519MLKEM768": tls.X25519MLKEM768}
)

type edge struct {
	name   string
	dialer *websocket.Dialer
}

func main() {
	flag.Parse()
	measure := map[string]func([]edge) map[string]float64{"connect": connect, "message": message, "down": down, "idle": idle, "return": comeBack}[*what]
	json.NewEncoder(os.Stdout).Encode(measure(mint()))
}

// Milliseconds of CPU a connect: the first contact of each node, and its return.
func connect(edges []edge) map[string]float64 {
	costs := map[string]float64{}
	for _, contact := range []string{"first", "return"} {
		before := cpu()
		conns := dialAll(edges)
		time.Sleep(settle)
		costs[contact] = (cpu() - before) * 1e3 / float64(len(edges))
		closeAll(conns)
	}
	return costs
}

// Microseconds of CPU a message of 256 bytes; the server has handled all when it has answered the last of each connection.
func message(edges []edge) map[string]float64 {
	conns := dialAll(edges)
	each := *count / len(conns)
	sendAll := func() {
		forEach(conns, len(conns), func(at int, conn *websocket.Conn) {
			for index := range each {
				sync := ""
				if index == each-1 {
					sync = `,"sync":true`
				}
				must(conn.WriteMessage(websocket.TextMessage, sized(index, sync)))
			}
			_, _, err := conn.ReadMessage()
			must(err)
		})
	}
	// Once for the compiler of the server.
	sendAll()
	before := cpu()
	sendAll()
	cost := (cpu() - before) * 1e6 / float64(each*len(conns))
	closeAll(conns)
	return map[string]float64{"message": cost}
}

// Microseconds of CPU a message that is posted, goes to an edge and is acknowledged by it.
func down(edges []edge) map[string]float64 {
	conns := dialAll(edges)
	for _, conn := range conns {
		go acknowledge(conn)
	}
	poster, err := tls.LoadX509KeyPair(*admin, *admin)
	must(err)
	asPoster := &tls.Config{Certificates: []tls.Certificate{poster}, RootCAs: edges[0].dialer.TLSClientConfig.RootCAs}
	client := http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: parallel, TLSClientConfig: asPoster}}
	var sent atomic.Int64
	sendAll := func(many int) {
		forEach(make([]struct{}, many), parallel, func(at int, _ struct{}) {
			id := fmt.Sprintf("%s-%d", *prefix, sent.Add(1))
			url := strings.ReplaceAll(*api, "NODE", edges[at%len(edges)].name)
			answer, err := client.Post(url, "application/json", strings.NewReader(strings.ReplaceAll(*body, "ID", id)))
			must(err)
			said, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			if !bytes.Contains(said, []byte(`"acknowledged"`)) {
				must(fmt.Errorf("%s %s", answer.Status, said))
			}
		})
	}
	sendAll(*count / 2)
	before := cpu()
	sendAll(*count)
	cost := (cpu() - before) * 1e6 / float64(*count)
	closeAll(conns)
	return map[string]float64{"down": cost}
}

func acknowledge(conn *websocket.Conn) {
	for index := 0; ; index++ {
		var got struct {
			Header struct {
				ID string `json:"msg_id"`
			} `json:"header"`
		}
		if conn.ReadJSON(&got) != nil {
			return
		}
		conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, status, index, `,"parent_msg_id":"`+got.Header.ID+`"`, "response", "OK"))
	}
}

// Kilobytes of resident memory a session that says nothing; the first tenth warms up.
func idle(edges []edge) map[string]float64 {
	conns := dialAll(edges[:len(edges)/10])
	time.Sleep(5 * settle)
	before := resident()
	rest := edges[len(conns):]
	conns = append(conns, dialAll(rest)...)
	time.Sleep(10 * settle)
	each := (resident() - before) / float64(len(rest))
	closeAll(conns)
	return map[string]float64{"idle": each}
}

// Seconds until every node has moved to another server and has an answer to its first message. Says "here" when all are
// at the first one, and waits for a line that says that it is dead. They stay, and acknowledge, until there is no more input.
func comeBack(edges []edge) map[string]float64 {
	dialAll(edges)
	fmt.Println("here")
	told := bufio.NewScanner(os.Stdin)
	told.Scan()
	*port = *to
	began := time.Now()
	forEach(edges, herd, func(at int, one edge) {
		conn := dial(one)
		must(conn.WriteMessage(websocket.TextMessage, sized(at, *asked)))
		_, _, err := conn.ReadMessage()
		must(err)
		go acknowledge(conn)
	})
	fmt.Println(time.Since(began).Seconds())
	told.Scan()
	return nil
}

func dialAll(edges []edge) []*websocket.Conn {
	conns := make([]*websocket.Conn, len(edges))
	forEach(edges, parallel, func(at int, one edge) { conns[at] = dial(one) })
	return conns
}

func dial(one edge) *websocket.Conn {
	header := http.Header{"node_id": {one.name}, "project_id": {project}, "ConnectionUse": {"msg"}}
	conn, answer, err := one.dialer.Dial(fmt.Sprintf("wss://localhost:%d/%s/%s/events", *port, project, one.name), header)
	if err != nil && answer != nil {
		err = fmt.Errorf("%w: %s", err, answer.Status)
	}
	must(err)
	return conn
}

func closeAll(conns []*websocket.Conn) {
	for _, conn := range conns {
		conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(settle))
		conn.Close()
	}
	time.Sleep(settle)
}

func forEach[T any](items []T, width int, do func(at int, item T)) {
	var next atomic.Int64
	var workers sync.WaitGroup
	for range width {
		workers.Go(func() {
			for at := int(next.Add(1)) - 1; at < len(items); at = int(next.Add(1)) - 1 {
				do(at, items[at])
			}
		})
	}
	workers.Wait()
}

func mint() []edge {
	bundle, err := os.ReadFile(*ca)
	must(err)
	certificate, rest := pem.Decode(bundle)
	issuer, err := x509.ParseCertificate(certificate.Bytes)
	must(err)
	encoded, _ := pem.Decode(rest)
	signer, err := x509.ParsePKCS8PrivateKey(encoded.Bytes)
	must(err)
	roots := x509.NewCertPool()
	roots.AddCert(issuer)
	edges := make([]edge, *nodes)
	for index := range edges {
		name := fmt.Sprintf("%s-%d", *prefix, index)
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(err)
		leaf, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()),
			Subject:      pkix.Name{Organization: []string{"system:nodes"}, CommonName: "system:node:" + name},
			NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(720 * time.Hour),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}, issuer, &key.PublicKey, signer)
		must(err)
		edges[index] = edge{name, &websocket.Dialer{TLSClientConfig: &tls.Config{
			Certificates: []tls.Certificate{{Certificate: [][]byte{leaf}, PrivateKey: key}}, RootCAs: roots,
			CurvePreferences: []tls.CurveID{groups[*group]},
		}}}
	}
	return edges
}

func sized(index int, sync string) []byte {
	empty := len(fmt.Sprintf(status, index, sync, "update", ""))
	return fmt.Appendf(nil, status, index, sync, "update", strings.Repeat("x", 256-empty))
}

// Seconds of CPU of the server, user and system (proc(5), fields 14 and 15 of stat).
func cpu() float64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", *pid))
	must(err)
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+2:]))
	var user, system float64
	fmt.Sscan(fields[11], &user)
	fmt.Sscan(fields[12], &system)
	return (user + system) / ticks
}

// Resident kilobytes of the server.
func resident() float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", *pid))
	must(err)
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	var kb float64
	fmt.Sscan(after, &kb)
	return kb
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
