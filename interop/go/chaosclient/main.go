// A client of `cargo xtask chaos` on amqp091-go: what it is to do stands in interop/chaos.md.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	interval = 5 * time.Millisecond
	retry    = 50 * time.Millisecond
	// How long a step may take: the handshake, a confirm, an answer.
	step = 10 * time.Second
)

var (
	queues      = [2]string{"chaos", "chaos-quorum"}
	finish, end = make(chan struct{}), make(chan struct{})
	message     = regexp.MustCompile(`(?s)^(\S+) (\d+) (.*)$`)
	errLate     = errors.New("not in time")
)

func filler(number int) string { return strings.Repeat(".", number*37%1500) }

func isClosed(told chan struct{}) bool {
	select {
	case <-told:
		return true
	default:
		return false
	}
}

// within waits for an answer of the library, which has no limit of its own.
func within(call func() error) error {
	done := make(chan error, 1)
	go func() { done <- call() }()
	select {
	case err := <-done:
		return err
	case <-time.After(step):
		return errLate
	}
}

// forEver runs work on one connection after the other until it succeeds, which it does when all is done.
func forEver(url string, work func(*amqp.Connection) error) {
	for {
		config := amqp.Config{Heartbeat: 3 * time.Second, Dial: amqp.DefaultDial(step)}
		connection, err := amqp.DialConfig(url, config)
		if err == nil {
			err = work(connection)
			if closed := connection.CloseDeadline(time.Now().Add(step)); err == nil {
				err = closed
			}
		}
		if err == nil {
			return
		}
		fmt.Println("again")
		time.Sleep(retry)
	}
}

func publish(connection *amqp.Connection, name string, next *int) error {
	var channel *amqp.Channel
	if err := within(func() (err error) { channel, err = connection.Channel(); return }); err != nil {
		return err
	}
	if err := within(func() error { return channel.Confirm(false) }); err != nil {
		return err
	}
	for last := false; !last; {
		// What was not confirmed is published again; after the word to finish, one more.
		last = isClosed(finish)
		body := fmt.Sprintf("%s %d %s", name, *next, filler(*next))
		content := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body)}
		limit, cancel := context.WithTimeout(context.Background(), step)
		var confirm *amqp.DeferredConfirmation
		err := within(func() (err error) {
			confirm, err = channel.PublishWithDeferredConfirmWithContext(limit, "", queues[*next%2], true, false, content)
			return
		})
		if err == nil {
			var taken bool
			if taken, err = confirm.WaitContext(limit); err == nil && !taken {
				err = errors.New("not taken")
			}
		}
		cancel()
		if err != nil {
			return err
		}
		fmt.Println("confirmed", *next)
		*next++
		time.Sleep(interval)
	}
	return nil
}

func consume(connection *amqp.Connection) error {
	var channel *amqp.Channel
	if err := within(func() (err error) { channel, err = connection.Channel(); return }); err != nil {
		return err
	}
	if err := within(func() error { return channel.Qos(50, 0, false) }); err != nil {
		return err
	}
	var deliveries [2]<-chan amqp.Delivery
	for index, queue := range queues {
		err := within(func() (err error) {
			deliveries[index], err = channel.Consume(queue, "", false, false, false, false, nil)
			return
		})
		if err != nil {
			return err
		}
	}
	for {
		var delivery amqp.Delivery
		stands := true
		select {
		case delivery, stands = <-deliveries[0]:
		case delivery, stands = <-deliveries[1]:
		case <-end:
			return nil
		}
		if !stands {
			return errors.New("the consumer has ended")
		}
		words := message.FindSubmatch(delivery.Body)
		number := 0
		if words != nil {
			number, _ = strconv.Atoi(string(words[2]))
		}
		if words != nil && string(words[3]) == filler(number) {
			fmt.Printf("consumed %s %d\n", words[1], number)
		} else {
			fmt.Printf("torn %.60q\n", delivery.Body)
		}
		if err := within(func() error { return delivery.Ack(false) }); err != nil {
			return err
		}
	}
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: chaos HOST PORT NAME")
		os.Exit(2)
	}
	url := fmt.Sprintf("amqp://guest:guest@%s:%s/", os.Args[1], os.Args[2])
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			switch lines.Text() {
			case "finish":
				close(finish)
			case "end":
				close(end)
			}
		}
		if !isClosed(end) {
			// Whoever has started this is gone.
			os.Exit(1)
		}
	}()
	var both sync.WaitGroup
	both.Add(2)
	go func() {
		defer both.Done()
		next := 1
		forEver(url, func(connection *amqp.Connection) error { return publish(connection, os.Args[3], &next) })
		fmt.Println("attempted", next-1)
	}()
	go func() {
		defer both.Done()
		forEver(url, consume)
		fmt.Println("ended")
	}()
	both.Wait()
}
